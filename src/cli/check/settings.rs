//! The settings of `birdwatch check`: checked, complete, and built once from what the user typed.

use std::path::Path;
use std::time::Duration;

use super::prometheus::Target;
use crate::cli::args::CheckArgs;
use crate::cli::given::{Given, SettingsError};

/// Everything `birdwatch check` needs to know.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// What is checked.
    pub subject: Subject,
    /// Further files.
    pub files: Vec<String>,
    /// The namespace of what has none, where there is no cluster to say.
    pub namespace: String,
    /// Look into the cluster.
    pub cluster: Option<AskCluster>,
    /// Whom to ask; none: nobody.
    pub prometheus: Option<Target>,
    /// How often Prometheus scrapes.
    pub scrape_interval: Duration,
    /// How long a change of weight takes to be known everywhere, 100 ms to 10 min.
    pub propagation_delay: Duration,
    /// DNS domain of the cluster.
    pub domain: String,
    /// The operator's service account.
    pub operator: Account,
    /// How to show what was found.
    pub format: Format,
}

/// What is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every `BirdWatch` of a file.
    File(String),
    /// A `BirdWatch` of the cluster.
    Name(String),
}

/// How to look into the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskCluster {
    /// The namespace of what has none; absent: as the configuration says.
    pub namespace: Option<String>,
}

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// How to show what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl CheckSettings {
    /// Checks what the user typed and fills every default.
    ///
    /// # Errors
    /// [`SettingsError`] for the first value that cannot be used.
    pub fn new(args: CheckArgs) -> Result<Self, SettingsError> {
        let CheckArgs {
            subject,
            file,
            cluster,
            namespace,
            prometheus,
            scrape_interval,
            propagation_delay,
            cluster_domain,
            ca_file,
            as_operator,
            output,
        } = args;
        let subject = subject_of(subject);
        let asked = Given::new("--namespace", "", namespace.clone()).namespace("default")?;
        let in_cluster = cluster || matches!(subject, Subject::Name(_));
        let ca_file = Given::new("--ca-file", "CA_FILE", ca_file).text();
        let url = Given::new("--prometheus", "PROMETHEUS_URL", prometheus).text();
        let scrape = Given::new("--scrape-interval", "SCRAPE_INTERVAL", scrape_interval);
        let delay = Given::new("--propagation-delay", "PROPAGATION_DELAY", propagation_delay);
        let formats = [("text", Format::Text), ("json", Format::Json)];
        Ok(Self {
            subject,
            files: file,
            cluster: in_cluster.then(|| AskCluster {
                namespace: namespace.is_some().then(|| asked.clone()),
            }),
            namespace: asked,
            prometheus: url.map(|url| Target {
                url,
                ca_file: ca_file.map(Into::into),
            }),
            scrape_interval: scrape.duration(15_000, 100..=3_600_000)?,
            propagation_delay: delay.duration(5_000, 100..=600_000)?,
            domain: Given::new("--cluster-domain", "CLUSTER_DOMAIN", cluster_domain)
                .dns_name("cluster.local")?,
            operator: account(as_operator)?,
            format: Given::new("--output", "", output).choice(Format::Text, &formats)?,
        })
    }
}

/// A file where it is one or looks like one; else a name.
fn subject_of(text: String) -> Subject {
    let ending = Path::new(&text).extension().and_then(|ending| ending.to_str());
    let looks = text == "-" || text.contains('/') || matches!(ending, Some("yaml" | "yml" | "json"));
    if looks || Path::new(&text).is_file() {
        Subject::File(text)
    } else {
        Subject::Name(text)
    }
}

fn account(text: Option<String>) -> Result<Account, SettingsError> {
    let given = Given::new("--as-operator", "", text);
    let text = given.as_str().unwrap_or("birdwatch/birdwatch");
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Account {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Err(given.error(
            "is no service account",
            "write its namespace and name, as in birdwatch/birdwatch",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: CheckArgs) -> Result<CheckSettings, SettingsError> {
        CheckSettings::new(args)
    }

    fn of(subject: &str) -> CheckArgs {
        CheckArgs {
            subject: subject.to_owned(),
            ..CheckArgs::default()
        }
    }

    #[test]
    fn a_name_is_looked_for_in_the_cluster_and_a_file_is_not() {
        for file in ["-", "shop.yaml", "./shop", "a/b", "x.json"] {
            let settings = settings(of(file)).unwrap();
            assert_eq!(
                (settings.subject, settings.cluster),
                (Subject::File(file.into()), None)
            );
        }
        let named = settings(of("shop")).unwrap();
        assert_eq!(named.subject, Subject::Name("shop".into()));
        assert_eq!(named.cluster, Some(AskCluster { namespace: None }));
        assert_eq!(named.namespace, "default");
    }

    #[test]
    fn the_operators_account_is_a_namespace_and_a_name() {
        let account = |text: &str| {
            let args = CheckArgs {
                as_operator: Some(text.to_owned()),
                ..of("shop")
            };
            settings(args).map(|settings| settings.operator)
        };
        let Account { namespace, name } = account("ops/bw").unwrap();
        assert_eq!((namespace.as_str(), name.as_str()), ("ops", "bw"));
        for odd in ["bw", "/bw", "ops/", "a/b/c"] {
            assert!(
                account(odd).unwrap_err().to_string().contains("--as-operator"),
                "{odd}"
            );
        }
    }
}
