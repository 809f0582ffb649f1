//! Runs `helm template` and `helm lint` on the chart and finds one's way in what they print.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

/// The release that every test renders, and the namespace it is rendered for.
pub(crate) const RELEASE: &str = "birdwatch";
pub(crate) const NAMESPACE: &str = "operators";

pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/birdwatch")
}

/// The objects rendered from `values` (YAML).
pub(crate) fn render(values: &str) -> Rendered {
    match try_render(values) {
        Ok(rendered) => rendered,
        Err(refusal) => panic!("helm refused\n{values}\n{refusal}"),
    }
}

/// The objects rendered from `values`, or what helm said.
pub(crate) fn try_render(values: &str) -> Result<Rendered, String> {
    let namespace = format!("--namespace={NAMESPACE}");
    let output = helm(&["template", RELEASE, "CHART", &namespace, "--values=-"], values);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("helm prints UTF-8");
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).expect("helm prints YAML");
    Ok(Rendered {
        objects: documents.into_iter().flatten().collect(),
    })
}

/// The bed's own helm, built where it is missing.
fn binary() -> PathBuf {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let tools = runtime
            .block_on(birdwatch_bed::tools::Tools::ensure())
            .expect("the bed's tools");
        tools.program("helm")
    });
    BINARY.clone()
}

/// Runs helm with `input` on stdin; the argument `CHART` stands for the chart's directory.
pub(crate) fn helm(arguments: &[&str], input: &str) -> Output {
    let binary = binary();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let chart = chart();
    let mut child = Command::new(&binary)
        .args(arguments.iter().map(|&argument| {
            if argument == "CHART" {
                chart.as_os_str()
            } else {
                argument.as_ref()
            }
        }))
        .envs(["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, &home)))
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(input.as_bytes())
        .expect("helm reads its values");
    child.wait_with_output().expect("helm ends")
}

/// Rendered objects.
pub(crate) struct Rendered {
    pub(crate) objects: Vec<Value>,
}

impl Rendered {
    /// The one object of that kind and name.
    pub(crate) fn get(&self, kind: &str, name: &str) -> &Value {
        let found: Vec<_> = self
            .of(kind)
            .filter(|object| object["metadata"]["name"] == name)
            .collect();
        assert_eq!(found.len(), 1, "{kind} {name} among {:?}", self.names());
        found[0]
    }

    pub(crate) fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// Kind, namespace and name of each object, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let mut names: Vec<_> = self
            .objects
            .iter()
            .map(|object| {
                let meta = &object["metadata"];
                format!(
                    "{} {}/{}",
                    text(&object["kind"]),
                    text(&meta["namespace"]),
                    text(&meta["name"])
                )
            })
            .collect();
        names.sort();
        names
    }

    pub(crate) fn deployment(&self) -> &Value {
        self.get("Deployment", RELEASE)
    }

    /// The pod specs of the release: the operator's and the drain Job's.
    pub(crate) fn pod_specs(&self) -> [&Value; 2] {
        let spec = |object: &'_ Value| object.pointer("/spec/template/spec").is_some();
        let job = self.get("Job", "birdwatch-drain");
        assert!(spec(self.deployment()) && spec(job));
        [
            &self.deployment()["spec"]["template"]["spec"],
            &job["spec"]["template"]["spec"],
        ]
    }

    /// The operator's container.
    pub(crate) fn container(&self) -> &Value {
        &self.pod_specs()[0]["containers"][0]
    }

    /// The operator's environment variable of that name; `Null` where there is none.
    pub(crate) fn env(&self, name: &str) -> &Value {
        env_of(self.container(), name)
    }
}

/// The value, or the source, of a container's environment variable; `Null` where there is none.
pub(crate) fn env_of<'a>(container: &'a Value, name: &str) -> &'a Value {
    let variables = container["env"].as_array().expect("a list of variables");
    let found: Vec<_> = variables
        .iter()
        .filter(|variable| variable["name"] == name)
        .collect();
    assert!(found.len() <= 1, "{name} is given {} times", found.len());
    match found.first() {
        Some(variable) => variable.get("value").unwrap_or(&variable["valueFrom"]),
        None => &Value::Null,
    }
}
