//! Child processes: each in a group of its own, each with a log file, none of them left behind.
//!
//! A thread of its own forks each child and waits for it. The kernel's parent-death signal is sent when the *thread*
//! that forked ends, so a child forked by a worker of a short-lived async runtime would die with that runtime.
//! This module may not know what the processes are for.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    thread,
    time::Duration,
};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process_group};
use tokio::sync::watch;

use crate::guard;

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its log file could not be opened.
    #[error("cannot open the log of {name}, {}: {source}", path.display())]
    Log {
        /// The process.
        name: String,
        /// The log file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system did not start it.
    #[error("cannot start {name} ({}): {source}", program.display())]
    Spawn {
        /// The process.
        name: String,
        /// What was to be run.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What people call it; also the name of its waiting thread.
    pub name: String,
    /// The program; a bare name is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Added to the bed's own environment, or, if [`Spec::clean_env`], all it gets.
    pub env: BTreeMap<String, String>,
    /// Start from an empty environment.
    pub clean_env: bool,
    /// Where it runs; `None`: where the bed runs.
    pub cwd: Option<PathBuf>,
    /// Takes standard output and error, appended; `None`: nobody does.
    pub log: Option<PathBuf>,
}

impl Spec {
    /// A program without arguments, with the bed's environment and no log.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            clean_env: false,
            cwd: None,
            log: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Sets the log file.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Starts it. The child dies with this process, also when this process is killed.
    pub fn spawn(&self) -> Result<Process, Error> {
        let command = self.command()?;
        let failed = |source| Error::Spawn {
            name: self.name.clone(),
            program: self.program.clone(),
            source,
        };
        let (pid_out, pid_in) = mpsc::channel();
        let (exit_out, exit) = watch::channel(None);
        thread::Builder::new()
            .name(self.name.chars().take(15).collect())
            .spawn(move || keep(command, &pid_out, &exit_out))
            .map_err(failed)?;
        let pid = pid_in
            .recv()
            .map_err(|e| failed(io::Error::other(e)))?
            .map_err(failed)?;
        Ok(Process {
            name: self.name.clone(),
            pid,
            exit,
        })
    }

    fn command(&self) -> Result<Command, Error> {
        let mut command = match &*SETPRIV {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        if self.clean_env {
            command.env_clear();
        }
        command
            .args(&self.args)
            .envs(&self.env)
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        let (out, err) = self.outputs()?;
        command.stdout(out).stderr(err);
        Ok(command)
    }

    fn outputs(&self) -> Result<(Stdio, Stdio), Error> {
        let Some(path) = &self.log else {
            return Ok((Stdio::null(), Stdio::null()));
        };
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            Ok((file.try_clone()?.into(), file.into()))
        };
        open().map_err(|source| Error::Log {
            name: self.name.clone(),
            path: path.clone(),
            source,
        })
    }
}

/// Asks the kernel to kill the child with us. Without it the guard alone does so, a moment later.
static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| find_program("setpriv"));

/// The first program of that name in `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The body of a child's thread: forks it, announces it, waits for it.
fn keep(mut command: Command, pid: &mpsc::Sender<io::Result<u32>>, exit: &watch::Sender<Option<ExitStatus>>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            drop(pid.send(Err(error)));
            return;
        }
    };
    let id = child.id();
    if let Err(error) = guard::watch_group(id) {
        drop(child.kill());
        drop(child.wait());
        drop(pid.send(Err(error)));
        return;
    }
    drop(pid.send(Ok(id)));
    let status = child.wait().unwrap_or_default();
    guard::forget_group(id);
    exit.send_replace(Some(status));
}

/// A running (or ended) child. Dropped while running, its whole group is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is its group's id too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn exited(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until it ends. May be called from any runtime, any number of times.
    pub async fn wait(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => ExitStatus::default(), // the waiting thread is gone, and so is the child
        }
    }

    /// Sends a signal to its group; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.exited().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, signal); // ESRCH: it ended in between
        }
    }

    /// SIGTERM, also to one that is stopped, and SIGKILL after `grace`. Returns when it has ended.
    pub async fn stop(&self, grace: Duration) -> ExitStatus {
        self.ask_to_end();
        if let Ok(status) = tokio::time::timeout(grace, self.wait()).await {
            return status;
        }
        self.signal(Signal::KILL);
        self.wait().await
    }

    /// [`Process::stop`] for where nothing can be awaited.
    pub fn stop_blocking(&self, grace: Duration) {
        self.ask_to_end();
        if !self.ends_within(grace) {
            self.signal(Signal::KILL);
            self.ends_within(Duration::from_secs(2));
        }
    }

    /// SIGTERM, and SIGCONT so that it is heard.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
    }

    fn ends_within(&self, limit: Duration) -> bool {
        const PAUSE: Duration = Duration::from_millis(5);
        let rounds = limit.as_millis() / PAUSE.as_millis();
        (0..rounds).any(|_| {
            thread::sleep(PAUSE);
            self.exited().is_some()
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The last lines of a log, for error messages.
#[must_use]
pub fn log_tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that starts a child, writes the child's pid to its log, and waits.
    fn family(log: &Path) -> Process {
        let script = "sleep 1000 & echo $!; wait";
        Spec::new("family", "sh")
            .args(["-c", script])
            .log(log)
            .spawn()
            .unwrap()
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("birdwatch-bed-{name}-{}", std::process::id()));
        drop(fs::remove_file(&path));
        path
    }

    /// Asks every 5 ms, for up to 5 s.
    fn comes_true(holds: impl Fn() -> bool) -> bool {
        (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(5));
            holds()
        })
    }

    fn runs(pid: &str) -> bool {
        // A zombie has no command line.
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    }

    #[test]
    fn a_dropped_process_takes_its_whole_group_along() {
        let log = scratch("family");
        let process = family(&log);
        assert!(comes_true(|| log_tail(&log, 1).parse::<u32>().is_ok()));
        let (parent, child) = (process.pid().to_string(), log_tail(&log, 1));
        assert!(runs(&parent) && runs(&child));
        drop(process);
        assert!(comes_true(|| !runs(&parent) && !runs(&child)));
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_process_outlives_the_runtime_and_the_thread_it_was_started_from() {
        let starter = thread::spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                tokio::spawn(async { Spec::new("sleep", "sleep").args(["1000"]).spawn().unwrap() })
                    .await
                    .unwrap()
            })
        });
        let process = starter.join().unwrap();
        // The parent-death signal would be there by now: the thread has ended.
        assert!(!process.ends_within(Duration::from_millis(200)));
        process.stop_blocking(Duration::from_secs(5));
        assert!(process.exited().is_some());
    }

    #[tokio::test]
    async fn a_stopped_process_hears_that_it_is_to_end_even_when_it_is_paused() {
        let process = Spec::new("sleep", "sleep").args(["1000"]).spawn().unwrap();
        process.signal(Signal::STOP);
        let ended = tokio::time::timeout(Duration::from_secs(5), process.stop(Duration::from_mins(1))).await;
        assert!(!ended.unwrap().success());
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed_after_its_grace() {
        let log = scratch("deaf");
        let script = "trap '' TERM; echo deaf; while :; do sleep 1000; done";
        let process = Spec::new("deaf", "sh")
            .args(["-c", script])
            .log(&log)
            .spawn()
            .unwrap();
        assert!(comes_true(|| log_tail(&log, 1) == "deaf"));
        let limit = Duration::from_secs(5);
        tokio::time::timeout(limit, process.stop(Duration::from_millis(50)))
            .await
            .unwrap();
        fs::remove_file(log).unwrap();
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_says_so() {
        let log = scratch("missing");
        match Spec::new("missing", "/no/such/program").log(&log).spawn() {
            Err(error) => assert!(error.to_string().contains("/no/such/program")),
            Ok(process) => {
                assert!(!process.wait().await.success());
                assert!(log_tail(&log, 5).contains("/no/such/program"));
            }
        }
        fs::remove_file(log).unwrap();
    }
}
