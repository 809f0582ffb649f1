//! `birdwatch check`: what is wrong with a `BirdWatch`, found before traffic moves. It gathers; `core::preflight` judges.

mod cluster;
mod files;
mod gather;
mod objects;
mod prometheus;
pub mod rights;
mod settings;
mod show;

use std::io::Write as _;
use std::process::ExitCode;

use crate::clients::http::ClientError;
use crate::clients::prometheus::ConfigError;
use crate::controller::objects::RawBirdWatch;
use crate::core::observation::ObjectName;
use crate::core::preflight::{self, Finding, Report};
use crate::runtime::clock::Clock;

use cluster::Cluster;
use objects::Objects;
use prometheus::Asked;

use super::given::SettingsError;

pub use settings::CheckSettings;

/// The exit code of what could not be checked.
pub const COULD_NOT_CHECK: u8 = 2;

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A flag cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A file cannot be read.
    #[error("cannot read {file}: {problem}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no `BirdWatch` in the file.
    #[error("there is no BirdWatch in {file}")]
    NoBirdWatch {
        /// Its path.
        file: String,
    },
    /// The cluster has no such `BirdWatch`.
    #[error("there is no BirdWatch \"{}\" in namespace {}", .0.name, .0.namespace)]
    NotThere(ObjectName),
    /// There is no cluster, or it does not answer.
    #[error("the cluster cannot be asked: {0}")]
    Cluster(String),
    /// The address of Prometheus cannot be used.
    #[error("--prometheus: {0}")]
    Prometheus(#[from] ConfigError),
    /// No HTTP client can be made.
    #[error(transparent)]
    Http(#[from] ClientError),
}

/// What came of looking at one `BirdWatch`.
struct Checked {
    name: ObjectName,
    report: Report,
}

/// Looks at everything the settings name, and prints what was found.
///
/// # Errors
/// Nothing could be checked.
pub async fn check(settings: CheckSettings) -> Result<ExitCode, CheckError> {
    let looked = Box::pin(look(&settings)).await;
    let text = match (settings.format, &looked) {
        (settings::Format::Text, Ok((checked, _))) => show::text(checked),
        (settings::Format::Json, Ok((checked, in_vain))) => show::json(checked, in_vain.as_deref()),
        (settings::Format::Text, Err(_)) => String::new(),
        (settings::Format::Json, Err(error)) => show::failure(&error.to_string()),
    };
    // A pipe that is closed early (`| head`) is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let (checked, in_vain) = looked?;
    if let Some(why) = in_vain {
        eprintln!("birdwatch: {why}");
        return Ok(ExitCode::from(COULD_NOT_CHECK));
    }
    let is_grave = checked.iter().any(|one| one.report.is_grave());
    Ok(if is_grave {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// What was found, and why Prometheus was asked in vain.
async fn look(settings: &CheckSettings) -> Result<(Vec<Checked>, Option<String>), CheckError> {
    let cluster = match &settings.cluster {
        Some(asked) => Some(Cluster::connect(asked.namespace.as_deref()).await?),
        None => None,
    };
    let namespace = cluster
        .as_ref()
        .map_or(settings.namespace.as_str(), |cluster| cluster.namespace());
    let mut given = Objects::of_files(&settings.files, namespace)?;
    let subjects = match &settings.subject {
        settings::Subject::File(file) => {
            let own = Objects::of_files(std::slice::from_ref(file), namespace)?;
            let subjects = own.bird_watches(file)?;
            given.put_all(own);
            subjects
        }
        settings::Subject::Name(name) => {
            let name = ObjectName {
                namespace: namespace.to_owned(),
                name: name.clone(),
            };
            match &cluster {
                Some(cluster) => vec![(cluster.bird_watch(&name).await?, Vec::new())],
                None => return Err(CheckError::NotThere(name)),
            }
        }
    };
    let target = match &settings.prometheus {
        Some(target) => Some((target.clone(), target.configs()?)),
        None => None,
    };
    let (mut checked, mut in_vain) = (Vec::new(), None);
    for (subject, document) in subjects {
        let plan = gather::plan(&subject);
        let asked = match &plan {
            Some(plan) => Asked::about(target.as_ref(), plan).await,
            None => Asked::No("it takes a spec that can be used"),
        };
        let subject = (&subject, document);
        checked.push(Box::pin(one(settings, cluster.as_ref(), &given, subject, &asked)).await);
        if let Asked::InVain(why) = asked {
            in_vain.get_or_insert(why);
        }
    }
    Ok((checked, in_vain))
}

async fn one(
    settings: &CheckSettings,
    cluster: Option<&Cluster>,
    given: &Objects,
    (subject, document): (&RawBirdWatch, Vec<Finding>),
    asked: &Asked,
) -> Checked {
    let name = subject.name();
    let plan = gather::plan(subject);
    let objects = match (cluster, &plan) {
        (Some(cluster), Some(plan)) => {
            let mut objects = Box::pin(cluster.objects(&name.namespace, &plan.target)).await;
            objects.put_all(given.clone());
            objects
        }
        _ => given.clone(),
    };
    let mut inventory = gather::inventory(subject, &objects, settings);
    inventory.document = document;
    if let Some(plan) = &plan {
        inventory.rights = match cluster {
            Some(cluster) => cluster.rights(&name.namespace, &settings.operator).await,
            None => Err("that takes a cluster".to_owned()),
        };
        prometheus::ask(&mut inventory, plan, asked, Clock::real().now()).await;
    }
    Checked {
        name,
        report: preflight::report(&inventory),
    }
}
