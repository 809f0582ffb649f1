//! A part of the bed: a process that can be started, waited for, paused, stopped and started again as it was.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::Stopwatch,
    process::{self, Process, Signal, Spec, log_tail},
};

/// How often a part is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Lines of the log that an error quotes.
const QUOTED: usize = 15;

/// Why a part is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was not started at all.
    #[error(transparent)]
    Start(#[from] process::Error),
    /// It ended while it was waited for.
    #[error("{name} ended ({status}) before it was ready; the end of {}:\n{tail}", log.display())]
    Ended {
        /// The part.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// It did not become ready in time.
    #[error("{name} was not ready after {} s ({last}); the end of {}:\n{tail}", after.as_secs(), log.display())]
    NotReady {
        /// The part.
        name: String,
        /// How long it had.
        after: Duration,
        /// The last answer.
        last: String,
        /// Its log.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// Nothing runs.
    #[error("{0} is not running")]
    NotRunning(String),
    /// The data of a running part was to be removed.
    #[error("{0} is running: stop it before its data is removed")]
    Running(String),
    /// The data could not be removed.
    #[error("cannot remove the data of {name}: {source}")]
    Wipe {
        /// The part.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// How a part is asked whether it is ready: a GET that must be answered with 2xx.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) url: String,
    /// CA, and certificate with key of the asker.
    pub(crate) tls: Option<(String, String)>,
}

impl Probe {
    pub(crate) fn http(url: String) -> Self {
        Self { url, tls: None }
    }

    fn client(&self) -> reqwest::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .pool_max_idle_per_host(0);
        if let Some((ca, identity)) = &self.tls {
            builder = builder
                .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes())?])
                .identity(reqwest::Identity::from_pem(identity.as_bytes())?);
        }
        builder.build()
    }

    async fn ask(&self, client: &reqwest::Client) -> Result<(), String> {
        match client.get(&self.url).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{} answers {}", self.url, answer.status())),
            Err(error) => Err(format!("{} does not answer: {error}", self.url)),
        }
    }
}

/// One of the bed's processes, under its own name, ports and data, whether it runs now or not.
#[derive(Debug)]
pub struct Part {
    spec: Spec,
    log: PathBuf,
    probe: Probe,
    /// How long it has to become ready.
    patience: Duration,
    /// How long it has between SIGTERM and SIGKILL.
    grace: Duration,
    data: Option<PathBuf>,
    process: Mutex<Option<Process>>,
}

impl Part {
    pub(crate) fn new(spec: Spec, log_dir: &Path, probe: Probe) -> Self {
        let log = log_dir.join(format!("{}.log", spec.name));
        Self {
            spec: spec.log(&log),
            log,
            probe,
            patience: Duration::from_mins(1),
            grace: Duration::from_secs(5),
            data: None,
            process: Mutex::new(None),
        }
    }

    pub(crate) fn with_data(mut self, dir: PathBuf) -> Self {
        self.data = Some(dir);
        self
    }

    pub(crate) fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// What it is called, in logs and errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.slot()
            .as_ref()
            .filter(|process| process.exited().is_none())
            .map(Process::pid)
    }

    /// Starts it, unless it runs, with the ports and the data it had, and waits until it is ready.
    pub async fn start(&self) -> Result<(), Error> {
        if self.pid().is_none() {
            let fresh = self.spec.spawn()?;
            *self.slot() = Some(fresh);
        }
        self.ready().await
    }

    /// Waits until it is ready.
    pub async fn ready(&self) -> Result<(), Error> {
        let waiting = Stopwatch::start();
        let client = self.probe.client();
        loop {
            let answer = match &client {
                Ok(client) => self.probe.ask(client).await,
                Err(error) => Err(error.to_string()),
            };
            let Err(last) = answer else {
                tracing::info!(
                    "{} is ready ({:.1} s)",
                    self.name(),
                    waiting.elapsed().as_secs_f32()
                );
                return Ok(());
            };
            if let Some(status) = self.slot().as_ref().and_then(Process::exited) {
                let (log, tail) = (self.log.clone(), log_tail(&self.log, QUOTED));
                return Err(Error::Ended {
                    name: self.name().into(),
                    status,
                    log,
                    tail,
                });
            }
            if waiting.elapsed() > self.patience {
                let (log, tail) = (self.log.clone(), log_tail(&self.log, QUOTED));
                return Err(Error::NotReady {
                    name: self.name().into(),
                    after: self.patience,
                    last,
                    log,
                    tail,
                });
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// SIGTERM, and SIGKILL after a few seconds; returns when it has ended. Its data stays.
    pub async fn stop(&self) {
        let process = self.slot().take();
        if let Some(process) = process {
            process.stop(self.grace).await;
        }
    }

    /// SIGKILL; returns when it has ended. Its data stays.
    pub async fn kill(&self) {
        let process = self.slot().take();
        if let Some(process) = process {
            process.signal(Signal::KILL);
            process.wait().await;
        }
    }

    /// Stops it in its tracks: connections stay open and nothing is answered.
    pub fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Part::pause`].
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    /// Removes all it has remembered. It must be stopped.
    pub fn wipe_data(&self) -> Result<(), Error> {
        if self.pid().is_some() {
            return Err(Error::Running(self.name().into()));
        }
        match self.data.as_ref().map(fs::remove_dir_all) {
            Some(Err(source)) if source.kind() != io::ErrorKind::NotFound => Err(Error::Wipe {
                name: self.name().into(),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Asks it to end and does not wait.
    pub(crate) fn ask_to_end(&self) {
        if let Some(process) = &*self.slot() {
            process.ask_to_end();
        }
    }

    /// [`Part::stop`] for where nothing can be awaited.
    pub(crate) fn stop_blocking(&self) {
        if let Some(process) = self.slot().take() {
            process.stop_blocking(self.grace);
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        match &*self.slot() {
            Some(process) if process.exited().is_none() => {
                process.signal(signal);
                Ok(())
            }
            _ => Err(Error::NotRunning(self.name().into())),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
