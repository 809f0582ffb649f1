//! How the parts make HTTP clients: one place knows that reqwest needs a crypto provider before the first one.

use std::time::Duration;

/// A client that follows no redirects and gives up after `timeout`.
///
/// # Errors
/// When the client cannot be built from these settings.
pub(crate) fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    builder(timeout).build()
}

/// The same, with a connection for each request.
///
/// # Errors
/// When the client cannot be built from these settings.
pub(crate) fn client_without_pool(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    builder(timeout).pool_max_idle_per_host(0).build()
}

fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    // An error here means that one is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(timeout)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}
