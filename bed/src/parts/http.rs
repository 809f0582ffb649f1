//! How the parts make HTTP clients: one place knows that reqwest needs a crypto provider before the first one.

use std::time::Duration;

/// A client that follows no redirects and gives up after `timeout`.
///
/// # Errors
/// When the client cannot be built from these settings.
pub(crate) fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    // An error here means that one is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(timeout)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
}
