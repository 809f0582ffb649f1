//! The life of one container: start its process, watch it, start it again as the restart policy says.

use std::{
    os::unix::process::ExitStatusExt as _, path::PathBuf, process::ExitStatus, slice, sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    Context,
    account::kubeconfig,
    board::{Board, Ended},
    environment::{self, Env, expand},
    image::Program,
    object::Objects,
    probe::{Probes, first_port, url},
    problem::Problem,
    volume::Mounts,
};
use crate::{
    clock,
    process::{Process, Signal, Spec},
};

/// Where the bed's workload says that it is ready.
const WORKLOAD_READY: &str = "/ready";
/// How long to wait before trying again to start what could not be started.
const RETRY: Duration = Duration::from_secs(1);
/// A container that ran this long starts over with the shortest back-off.
const STABLE: Duration = Duration::from_mins(1);

/// What a container needs from its pod.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) pod: Pod,
    pub(super) ip: String,
    /// The pod's own directory.
    pub(super) dir: PathBuf,
    /// Where its volumes lie, a directory each.
    pub(super) volumes: PathBuf,
    /// Where its containers' logs go.
    pub(super) logs: PathBuf,
}

/// One container, by its index in the pod.
pub(super) struct Runner {
    pub(super) context: Arc<Context>,
    pub(super) stage: Arc<Stage>,
    pub(super) board: Arc<Board>,
    pub(super) index: usize,
    /// Set once, to the grace period, when the container shall end.
    pub(super) stop: watch::Receiver<Option<Duration>>,
}

/// Waiting times between restarts: 1 s, doubling to 10 s.
#[derive(Debug)]
struct BackOff(Duration);

impl BackOff {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(10);

    fn after(&mut self, ran: Duration) -> Duration {
        if ran >= STABLE {
            self.0 = Self::FIRST;
        }
        let wait = self.0;
        self.0 = (wait * 2).min(Self::LONGEST);
        wait
    }
}

impl Runner {
    /// Runs the container until it has ended for good or is told to stop.
    pub(super) async fn run(mut self, container: Container) {
        let mut back_off = BackOff(BackOff::FIRST);
        loop {
            match self.launch(&container).await {
                Ok((process, probes)) => {
                    let (since, began) = (clock::now(), Instant::now());
                    self.board.runs(self.index, Arc::clone(&process), since);
                    let (status, message) = self.supervise(&container, &process, &probes).await;
                    let exit_code = exit_code(status);
                    let over = self.is_told() || !self.restarts(exit_code);
                    self.board
                        .ended(self.index, ended(exit_code, message, since), over);
                    if over {
                        return;
                    }
                    let wait = back_off.after(began.elapsed());
                    self.board.waits(self.index, crash_loop(wait));
                    self.pause(wait).await;
                }
                Err(problem) => {
                    tracing::debug!(pod = self.stage.pod.name_any(), %problem, "a container does not start");
                    self.board.waits(self.index, problem);
                    self.pause(RETRY).await;
                }
            }
            if self.is_told() {
                return self.board.gives_up(self.index);
            }
        }
    }

    fn is_told(&self) -> bool {
        self.stop.borrow().is_some()
    }

    fn restarts(&self, exit_code: i32) -> bool {
        let policy = self
            .stage
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.as_deref());
        match policy {
            Some("Never") => false,
            Some("OnFailure") => exit_code != 0,
            _ => true,
        }
    }

    /// Waits, or less when told to stop.
    async fn pause(&mut self, time: Duration) {
        // Running out of time is what is waited for; being told is seen by the caller.
        let _ = timeout(time, told(&mut self.stop)).await;
    }

    async fn launch(&self, container: &Container) -> Result<(Arc<Process>, Probes), Problem> {
        let Stage { pod, ip, .. } = &*self.stage;
        let image = container.image.as_deref().unwrap_or_default();
        let program = self
            .context
            .config
            .images
            .find(image)
            .ok_or_else(|| Problem::image(image))?;
        if pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.init_containers.is_some())
        {
            return Err(Problem::config("the toy kubelet runs no init containers"));
        }
        let namespace = pod.namespace().unwrap_or_default();
        let objects = Objects::fetch(&self.context.client, &namespace, pod)
            .await
            .map_err(|error| Problem::config(error.to_string()))?;
        let ready_path = program.is_workload.then_some(WORKLOAD_READY);
        let probes = Probes::of(container, ip, ready_path)?;
        let spec = self.spec(container, &program, &objects)?;
        let process = spec.spawn().map_err(|error| Problem::run(error.to_string()))?;
        Ok((Arc::new(process), probes))
    }

    fn spec(&self, container: &Container, program: &Program, objects: &Objects) -> Result<Spec, Problem> {
        let Stage {
            pod,
            ip,
            dir,
            volumes,
            logs,
        } = &*self.stage;
        let mounts = Mounts::of(slice::from_ref(container), pod, volumes);
        let asked = environment::of_container(container, pod, ip, objects)?;
        let mut env = base(pod, dir);
        if program.is_workload {
            env.extend(workload_env(pod, container, ip));
        }
        if let Some(account) = &mounts.service_account {
            let path = dir.join(format!("{}.kubeconfig", container.name));
            let text = kubeconfig(
                &self.context.api_url,
                account,
                &pod.namespace().unwrap_or_default(),
            );
            std::fs::write(&path, text).map_err(|error| Problem::run(error.to_string()))?;
            env.insert("KUBECONFIG".to_owned(), path.to_string_lossy().into_owned());
        }
        env.extend(
            asked
                .iter()
                .map(|(name, value)| (name.clone(), mounts.rewrite(value))),
        );
        let args = arguments(container, program)?;
        let args = args.iter().map(|arg| mounts.rewrite(&expand(arg, &asked)));
        let mut spec = Spec::new(pod.name_any(), &program.binary).args(args).cwd(dir);
        spec = spec.log(logs.join(format!("{}.log", container.name)));
        spec.env = env;
        spec.clean_env = true;
        Ok(spec)
    }

    /// Until the process has ended, by itself, by its probes or because it was told to. With why, if not by itself.
    async fn supervise(
        &mut self,
        container: &Container,
        process: &Process,
        probes: &Probes,
    ) -> (ExitStatus, String) {
        let report = |health| self.board.reports(self.index, health);
        let mut stop = self.stop.clone();
        let grace = tokio::select! {
            status = process.wait() => return (status, String::new()),
            reason = probes.run(&self.context.http, report) => {
                tracing::info!(pod = self.stage.pod.name_any(), reason, "killing a container");
                return (terminate(process, self.grace()).await, reason);
            }
            grace = told(&mut stop) => grace,
        };
        let begun = Instant::now();
        // What the hook says does not matter, only that it had its time.
        let _ = timeout(grace, self.pre_stop(container)).await;
        (
            terminate(process, grace.saturating_sub(begun.elapsed())).await,
            String::new(),
        )
    }

    fn grace(&self) -> Duration {
        let seconds = self
            .stage
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds);
        Duration::from_secs(seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or(30))
    }

    async fn pre_stop(&self, container: &Container) {
        let Some(hook) = container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        else {
            return;
        };
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds.try_into().unwrap_or_default())).await;
        }
        if let Some(get) = &hook.http_get
            && let Ok(url) = url(get, container, &self.stage.ip)
            && let Err(error) = self.context.http.get(url).send().await
        {
            tracing::info!(pod = self.stage.pod.name_any(), %error, "a preStop hook failed");
        }
    }
}

/// Waits until the container shall end; gives its grace period, which is none when nobody is left to tell it.
async fn told(stop: &mut watch::Receiver<Option<Duration>>) -> Duration {
    stop.wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|grace| *grace)
        .unwrap_or_default()
}

/// SIGTERM, and SIGKILL when `grace` has passed. Without any grace the process never hears of its end.
async fn terminate(process: &Process, grace: Duration) -> ExitStatus {
    if !grace.is_zero() {
        process.signal(Signal::TERM);
        if let Ok(status) = timeout(grace, process.wait()).await {
            return status;
        }
    }
    process.signal(Signal::KILL);
    process.wait().await
}

fn crash_loop(wait: Duration) -> Problem {
    let message = format!("back-off {}s restarting failed container", wait.as_secs());
    Problem {
        reason: "CrashLoopBackOff",
        message,
    }
}

fn ended(exit_code: i32, message: String, started: Timestamp) -> Ended {
    Ended {
        exit_code,
        message,
        started,
        finished: clock::now(),
    }
}

/// A process that a signal ended has the exit code a shell would give it.
fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| Some(128 + status.signal()?))
        .unwrap_or(255)
}

/// The process's arguments: `command` may only name the image's own program, whose place is elsewhere here.
fn arguments(container: &Container, program: &Program) -> Result<Vec<String>, Problem> {
    let mut command = container.command.clone().unwrap_or_default();
    let args = container.args.clone().unwrap_or_default();
    if command.is_empty() {
        return Ok(args);
    }
    let named = command.remove(0);
    if PathBuf::from(&named).file_name() != program.binary.file_name() {
        return Err(Problem::run(format!(
            "exec: {named:?}: executable file not found"
        )));
    }
    Ok(command.into_iter().chain(args).collect())
}

/// What every process has in its environment; nothing of the bed's own.
fn base(pod: &Pod, dir: &std::path::Path) -> Env {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Env::from([
        pair(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        pair("HOSTNAME", &pod.name_any()),
        pair("HOME", &dir.to_string_lossy()),
    ])
}

/// What the workload's image brings along.
fn workload_env(pod: &Pod, container: &Container, ip: &str) -> Env {
    let label = |name: &str| {
        pod.labels()
            .get(name)
            .cloned()
            .unwrap_or_else(|| "unknown".to_owned())
    };
    let port = first_port(container).unwrap_or(80);
    let pairs = [
        ("POD_IP", ip.to_owned()),
        ("PORT", port.to_string()),
        ("POD_NAME", pod.name_any()),
        ("POD_NAMESPACE", pod.namespace().unwrap_or_default()),
        ("WORKLOAD", owner(pod)),
        ("APP", label("app")),
        ("VERSION", label("version")),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// The Deployment of a pod, or whatever else owns it, or the pod itself.
fn owner(pod: &Pod) -> String {
    let Some(owner) = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true))
    else {
        return pod.name_any();
    };
    let hash = pod.labels().get("pod-template-hash");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    deployment.unwrap_or(&owner.name).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn restarts_back_off_from_one_second_to_ten_and_start_over_after_a_good_run() {
        let mut back_off = BackOff(BackOff::FIRST);
        let short = Duration::from_secs(20);
        let waits: Vec<_> = (0..6).map(|_| back_off.after(short).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        assert_eq!(back_off.after(STABLE).as_secs(), 1);
    }

    #[tokio::test]
    async fn a_process_without_grace_is_killed_before_it_can_do_anything() {
        let sleep = || Spec::new("sleep", "/bin/sleep").args(["60"]).spawn().unwrap();
        assert_eq!(terminate(&sleep(), Duration::ZERO).await.signal(), Some(9));
        assert_eq!(
            terminate(&sleep(), Duration::from_mins(1)).await.signal(),
            Some(15)
        );
    }

    #[test]
    fn a_signal_gives_the_exit_code_a_shell_would() {
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
    }

    #[test]
    fn a_command_may_name_the_images_program_by_any_path_and_no_other() {
        let program = Program {
            binary: "/somewhere/birdwatch".into(),
            is_workload: false,
        };
        let arguments = |spec| arguments(&serde_json::from_value(spec).unwrap(), &program);
        let given = json!({"name": "c", "command": ["/birdwatch", "run"], "args": ["--x"]});
        assert_eq!(arguments(given), Ok(vec!["run".to_owned(), "--x".to_owned()]));
        assert_eq!(
            arguments(json!({"name": "c", "args": ["drain"]})),
            Ok(vec!["drain".to_owned()])
        );
        assert!(arguments(json!({"name": "c", "command": ["/bin/sh"]})).is_err());
    }

    #[test]
    fn the_owner_of_a_pod_is_its_deployment() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {
            "name": "aleph-v04-7c9-x", "labels": {"pod-template-hash": "7c9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "aleph-v04-7c9",
                "uid": "u", "controller": true}],
        }}))
        .unwrap();
        assert_eq!(owner(&pod), "aleph-v04");
    }
}
