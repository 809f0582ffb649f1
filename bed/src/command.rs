//! kubectl and helm, run against the bed as its users would.

use std::{ffi::OsString, process::Stdio};

use tokio::io::AsyncWriteExt;

use crate::infra::{Error, Infra};

impl Infra {
    /// Runs kubectl as the administrator and returns what it prints.
    pub async fn kubectl<A: AsRef<str>>(&self, args: impl IntoIterator<Item = A>) -> Result<String, Error> {
        self.run("kubectl", args, None).await
    }

    /// Applies manifests (YAML or JSON) as `kubectl apply -f -` does.
    pub async fn apply(&self, manifests: &str) -> Result<String, Error> {
        self.run("kubectl", ["apply", "-f", "-"], Some(manifests)).await
    }

    /// Runs helm as the administrator and returns what it prints.
    pub async fn helm<A: AsRef<str>>(&self, args: impl IntoIterator<Item = A>) -> Result<String, Error> {
        self.run("helm", args, None).await
    }

    /// What helm and kubectl need in their environment: the bed's cluster, and no settings of the user's.
    #[must_use]
    pub fn command_env(&self) -> Vec<(&'static str, OsString)> {
        let own = |name: &str| self.dir().join("home").join(name).into_os_string();
        vec![
            ("KUBECONFIG", self.kubeconfig().into_os_string()),
            ("KUBECACHEDIR", own("kube-cache")),
            ("HELM_CACHE_HOME", own("helm-cache")),
            ("HELM_CONFIG_HOME", own("helm-config")),
            ("HELM_DATA_HOME", own("helm-data")),
        ]
    }

    async fn run<A: AsRef<str>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
        input: Option<&str>,
    ) -> Result<String, Error> {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut child = tokio::process::Command::new(self.tools().program(program))
            .args(&args)
            .env_clear()
            .envs(own_settings_aside())
            .envs(self.command_env())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that ends without reading says why on its standard error.
            drop(pipe.write_all(input.unwrap_or_default().as_bytes()).await);
        }
        let out = child.wait_with_output().await?;
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        let output = String::from_utf8_lossy(&out.stderr).into_owned();
        Err(Error::Command {
            command: format!("{program} {}", args.join(" ")),
            output,
        })
    }
}

/// The bed's environment without what would lead kubectl or helm to another cluster.
fn own_settings_aside() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        !name.starts_with("KUBE") && !name.starts_with("HELM_")
    })
}
