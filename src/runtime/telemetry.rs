//! Logs of the process: format, filter, and what is said of a panic. Writes to standard error, never a secret.

use secrecy::{ExposeSecret, SecretString};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The filter without `RUST_LOG`. kube's client reports each refused request as an error before we see it; whoever
/// sent it knows better, and says it once.
const DEFAULT_FILTER: &str = "info,kube=warn,kube_client::client::builder=off";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Why logs cannot be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` cannot be read.
    #[error("RUST_LOG is not a log filter ({0}); write for example info,kube=warn or birdwatch=debug")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody set up logging before.
    #[error("logging is set up already")]
    Twice,
}

/// Sets up logging for the whole process. `filter` is the value of `RUST_LOG`; None or empty is a filter that leaves out
/// what libraries say of themselves.
///
/// # Errors
/// [`TelemetryError`] when the filter cannot be read or logging was set up before.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<(), TelemetryError> {
    let subscriber = subscriber(format, filter, std::io::stderr, std::io::stderr().is_terminal())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)
}

fn subscriber<W>(
    format: LogFormat,
    filter: Option<&str>,
    writer: W,
    colour: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter.filter(|text| !text.is_empty()).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(lines.with_ansi(colour).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    })
}

/// Makes a panic one log line like any other: where, in which thread, and what was said, with every one of the
/// `secrets` that there are then masked. Those must be had without a lock that whoever panics may hold.
pub fn log_panics(secrets: impl Fn() -> Vec<SecretString> + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |info| report(info, &secrets())));
}

fn report(info: &PanicHookInfo<'_>, secrets: &[SecretString]) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let said = masked(info.payload_as_str().unwrap_or("no message"), secrets);
    tracing::error!(
        place,
        thread,
        said,
        "a task panicked; this is a bug in the operator"
    );
}

fn masked(text: &str, secrets: &[SecretString]) -> String {
    let known = secrets.iter().map(ExposeSecret::expose_secret);
    let mut known: Vec<&str> = known.filter(|secret| !secret.is_empty()).collect();
    // Of one that is the beginning of another nothing may be left.
    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    known
        .into_iter()
        .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    /// What is said of a panic is the process's: one test at a time sets it.
    static HOOK: Mutex<()> = Mutex::new(());

    /// What the log says, as JSON, of panics in `works`, with the hook that `set` sets.
    pub(crate) fn logged_of_panics(set: impl FnOnce(), works: &[&dyn Fn()]) -> String {
        let _alone = HOOK.lock().unwrap();
        let before = std::panic::take_hook();
        let lines = Lines::default();
        let writer = lines.clone();
        let to_lines = subscriber(LogFormat::Json, None, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(to_lines, || {
            set();
            // Another test's panic, in a thread that logs nowhere, may be the first that the hook tells of: then it is
            // taken for one that nobody wants to hear of.
            while lines.0.lock().unwrap().is_empty() {
                std::panic::catch_unwind(|| panic!("is it heard?")).unwrap_err();
                tracing::callsite::rebuild_interest_cache();
            }
            lines.0.lock().unwrap().clear();
            for work in works {
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
            }
        });
        std::panic::set_hook(before);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn logged(format: LogFormat, filter: Option<&str>, work: impl FnOnce()) -> String {
            let lines = Self::default();
            let writer = lines.clone();
            let subscriber = subscriber(format, filter, move || writer.clone(), false).unwrap();
            tracing::subscriber::with_default(subscriber, work);
            String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let text = Lines::logged(LogFormat::Json, None, || {
            tracing::info!(service = "aleph", "first");
            tracing::warn!("second\nwith a break");
        });
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["message"], &lines[0]["service"]),
            (&"first".into(), &"aleph".into())
        );
        assert_eq!(lines[1]["level"], "WARN");
    }

    #[test]
    fn without_a_filter_the_client_library_is_quiet() {
        let work = || {
            tracing::info!(target: "kube::client", "chatter");
            tracing::info!(target: "birdwatch", "ours");
            tracing::debug!(target: "birdwatch", "detail");
        };
        let text = Lines::logged(LogFormat::Text, Some(""), work);
        assert!(
            text.contains("ours") && !text.contains("chatter") && !text.contains("detail"),
            "{text}"
        );
        assert!(Lines::logged(LogFormat::Text, Some("debug"), work).contains("detail"));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_by_name() {
        let error = subscriber(LogFormat::Text, Some("birdwatch=loud"), io::sink, false)
            .err()
            .unwrap();
        assert!(
            error.to_string().starts_with("RUST_LOG is not a log filter"),
            "{error}"
        );
    }

    #[test]
    fn a_panic_is_one_line_without_the_secrets() {
        let text = logged_of_panics(
            || log_panics(|| vec!["xoxb-canary".into(), "hunter22".into()]),
            &[
                &|| panic!("posting with xoxb-canary\nfailed for hunter22"),
                &|| panic!("{:?}", Err::<(), _>("token xoxb-canary")),
                &|| std::panic::panic_any(7),
            ],
        );
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0]["said"], "posting with ***\nfailed for ***");
        assert!(
            lines[0]["place"].as_str().unwrap().contains("telemetry.rs"),
            "{text}"
        );
        assert_eq!(lines[2]["said"], "no message");
        assert!(
            !text.contains("xoxb-canary") && !text.contains("hunter22"),
            "{text}"
        );
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let secrets = ["xoxb-1".into(), "".into()];
        assert_eq!(masked("a xoxb-1 b xoxb-1", &secrets), "a *** b ***");
        let nested = ["abcd".into(), "abcd-efgh".into()];
        assert_eq!(masked("abcd-efgh, abcd", &nested), "***, ***");
    }
}
