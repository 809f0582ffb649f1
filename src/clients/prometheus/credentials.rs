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
