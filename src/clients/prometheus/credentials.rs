//! What we show a server to be let in, read anew at every call, so that a rotated token counts.

use std::path::Path;

use reqwest::RequestBuilder;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::config::ServerConfig;

/// Adds everything that `config` says about who we are, and gives the secrets besides, so that no message repeats
/// them. The error is for people and shows no secret.
pub(super) fn authenticate(
    config: &ServerConfig,
    request: RequestBuilder,
) -> Result<(RequestBuilder, Vec<SecretString>), String> {
    let mut request = request.header(ACCEPT, "application/json");
    let mut secrets: Vec<_> = config.url.keys().collect();
    if let Some(file) = &config.bearer_token_file {
        let token = secret_file(file)?;
        request = request.bearer_auth(token.expose_secret());
        secrets.push(token);
    }
    let user = match &config.basic_auth {
        Some(basic) => Some((basic.username.clone(), secret_file(&basic.password_file)?)),
        None => config.url.user.clone(),
    };
    if let Some((name, password)) = user {
        request = request.basic_auth(name, Some(password.expose_secret()));
        secrets.push(password);
    }
    // Last: a header given by name replaces one of ours.
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no header"))?;
        let mut sensitive = HeaderValue::try_from(value.expose_secret())
            .map_err(|_| format!("the value of header {name} holds characters that headers cannot"))?;
        sensitive.set_sensitive(true);
        headers.insert(name, sensitive);
        secrets.push(value.clone());
    }
    let (client, built) = request.headers(headers).build_split();
    let built = built.map_err(|error| error.without_url().to_string())?;
    // What is sent is a secret in that form too: `Basic` hides nothing.
    let sent = built.headers().get_all(AUTHORIZATION).iter();
    secrets.extend(sent.filter_map(in_one_word));
    Ok((RequestBuilder::from_parts(client, built), secrets))
}

impl ServerConfig {
    /// Everything of this server's that nobody may read, as far as its files can be read now: for masking. Words that are
    /// shorter than four characters are tenants called `1` rather than secrets.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretString> {
        let mut all: Vec<_> = self.url.keys().collect();
        all.extend(self.headers.values().cloned());
        let token = self
            .bearer_token_file
            .as_deref()
            .and_then(|file| secret_file(file).ok());
        all.extend(token);
        let user = match &self.basic_auth {
            Some(basic) => secret_file(&basic.password_file)
                .ok()
                .map(|password| (basic.username.clone(), password)),
            None => self.url.user.clone(),
        };
        if let Some((name, password)) = user {
            all.push(in_base64(&format!("{name}:{}", password.expose_secret())));
            all.push(password);
        }
        let key = self
            .client_key_file
            .as_deref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        let lines = key
            .iter()
            .flat_map(|pem| pem.lines())
            .filter(|line| !line.starts_with('-'));
        all.extend(lines.map(|line| SecretString::from(line.trim().to_owned())));
        all.retain(|secret| secret.expose_secret().len() > 3);
        all
    }
}

/// As basic authentication sends it.
fn in_base64(text: &str) -> SecretString {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(DIGITS.get(bits as usize & 63).copied().unwrap_or(b'='));
    let mut sent = String::new();
    for three in text.as_bytes().chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4_usize {
            let is_there = i <= three.len();
            sent.push(if is_there {
                digit(bits >> (18 - 6 * i))
            } else {
                '='
            });
        }
    }
    SecretString::from(sent)
}

/// What follows the scheme of an `Authorization`.
fn in_one_word(value: &HeaderValue) -> Option<SecretString> {
    let word = value.to_str().ok()?.split_whitespace().last()?;
    Some(SecretString::from(word.to_owned()))
}

/// A secret in a file, without the line end that editors add.
fn secret_file(file: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(format!("{} is empty", file.display()));
    }
    if text.chars().any(char::is_control) {
        return Err(format!(
            "{} holds more than one line, or control characters",
            file.display()
        ));
    }
    Ok(SecretString::from(text.to_owned()))
}
