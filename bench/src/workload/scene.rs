//! One cell while it runs: the ground, the contender's processes, what is seen of them, and the time that is left.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use birdwatch_bed::{
    process::{Process, log_tail},
    tools::Tools,
};

use crate::{
    cluster,
    contender::{Contender, Pace, Service},
    error::Error,
    ground::{Access, Ground},
    meter::{Counts, Meter},
    results::{Measurement, Stage, Waits},
    seen::{Deployments, Owns, Routes},
    telemetry::Server,
};

/// How often a condition is looked at. What is measured is taken from watch events, not from this.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of a log that an error shows.
const QUOTED: usize = 20;
/// How long a new version may take to have traffic everywhere; who has none then is left out of what follows.
const TO_START: Duration = Duration::from_mins(4);
/// How long routes are waited for after a fault.
pub(super) const TO_RETURN: Duration = Duration::from_mins(3);
/// How long plain Deployments may take to have their pods, which is no contender's affair.
const TO_PREPARE: Duration = Duration::from_mins(30);

/// What holds for all cells of a run.
pub(crate) struct Settings {
    pub(crate) tools: Tools,
    /// `BirdWatch`'s program.
    pub(crate) birdwatch: PathBuf,
    /// How long a contender may take in one cell.
    pub(crate) limit: Duration,
    /// How long costs are measured for.
    pub(crate) window: Duration,
}

/// A cell while it runs. Dropped, all of it ends.
pub(super) struct Scene {
    // Ends in this order.
    processes: Vec<Running>,
    pub(super) routes: Routes,
    pub(super) owns: Owns,
    access: Access,
    pub(super) contender: Arc<dyn Contender>,
    pub(super) services: Vec<Service>,
    pub(super) ground: Ground,
    pace: Pace,
    birdwatch: PathBuf,
    window: Duration,
    limit: Duration,
    /// When the contender's time began.
    begun: Duration,
    started: usize,
}

/// One of the contender's processes.
pub(super) struct Running {
    pub(super) process: Process,
    log: PathBuf,
}

impl Scene {
    /// Sets it: everything is there but the contender's process and its objects.
    pub(super) async fn set(
        settings: &Settings,
        contender: Arc<dyn Contender>,
        services: Vec<Service>,
        pace: Pace,
        limited: bool,
    ) -> Result<Self, Error> {
        let ground = Ground::lay(&settings.tools).await?;
        let access = ground.install(&*contender, limited).await?;
        prepare(&ground, &*contender, &services).await?;
        Ok(Self {
            processes: Vec::new(),
            routes: Routes::watch(&ground.client, ground.clock, &contender),
            owns: Owns::watch(&ground.client, ground.clock, &contender),
            access,
            contender,
            services,
            begun: ground.clock.elapsed(),
            ground,
            pace,
            birdwatch: settings.birdwatch.clone(),
            window: settings.window,
            limit: settings.limit,
            started: 0,
        })
    }

    /// Now, as watches have it.
    pub(super) fn now(&self) -> Duration {
        self.ground.clock.elapsed()
    }

    /// Since then.
    pub(super) fn since(&self, then: Duration) -> Duration {
        self.now().saturating_sub(then)
    }

    /// Starts a process of the contender. `elects`: there will be more than one.
    pub(super) fn start(&mut self, elects: bool) -> Result<(), Error> {
        self.started += 1;
        let replica = (self.started, elects);
        let (process, log) = self
            .ground
            .start(&*self.contender, &self.access, &self.birdwatch, replica)?;
        self.processes.push(Running { process, log });
        Ok(())
    }

    /// The contender's time begins: its first process, and all services put into its hands, until all are at rest.
    pub(super) async fn begin(&mut self, elects: bool) -> Result<(), Error> {
        self.begun = self.now();
        self.start(elects)?;
        let common = self.contender.common(&self.ground.servers(), self.pace);
        cluster::create_all(&self.ground.client, [common]).await?;
        let handed = self
            .services
            .iter()
            .map(|service| self.contender.hand_over(service, self.pace));
        let handed: Vec<_> = handed.collect();
        let making = cluster::create_all(&self.ground.client, handed);
        let all = self.services.len();
        let settling = self.must(
            || self.owns.at_rest() >= all,
            || format!("{} of {all} were at rest", self.owns.at_rest()),
        );
        let (made, settled) = tokio::join!(making, settling);
        made?;
        settled
    }

    /// Lets the new version of all services out and waits until each canary has traffic, or for some minutes. One about
    /// which a dead server is asked need not have any: who does not know must not go on.
    pub(super) async fn release_all(&self, seen: &mut Measurement) -> Result<(), Error> {
        let changes = self
            .services
            .iter()
            .map(|service| self.contender.new_version(service));
        let changes: Vec<_> = changes.collect();
        let known = self
            .services
            .iter()
            .filter(|service| service.server != Server::Dead);
        let known: Vec<String> = known.map(|service| service.name.clone()).collect();
        let (all, from) = (known.len(), self.now());
        cluster::change_all(&self.ground.client, changes).await?;
        let with = || self.routes.count_with_canary(&known);
        let started = self.wait(TO_START, || with() >= all).await?;
        let (with, seconds) = (with(), self.since(from).as_secs());
        let told = format!("{with} of {all} canaries had traffic {seconds} s after the new versions");
        if with == 0 {
            return Err(Error::Limit(told));
        }
        if !started {
            seen.notes.push(told);
        }
        Ok(())
    }

    /// Measures what the contender uses while nothing is done to it.
    pub(super) async fn measure(&self, name: &str) -> Result<Stage, Error> {
        let meter = self.meter()?;
        let from = self.now();
        let is_over = self
            .wait(self.window.saturating_mul(2), || self.since(from) >= self.window)
            .await?;
        if !is_over {
            return Err(Error::Limit(format!("while {name} was measured")));
        }
        Ok(meter.end(name, self.counts())?)
    }

    /// Begins to measure.
    pub(super) fn meter(&self) -> Result<Meter, Error> {
        let pids: Vec<u32> = self
            .processes
            .iter()
            .map(|running| running.process.pid())
            .collect();
        let user = self.contender.account().user();
        Ok(Meter::begin(
            self.ground.infra.audit(),
            user,
            &pids,
            self.counts(),
        )?)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            queries: self.ground.telemetry.questions(),
            raises: self.routes.raises(),
        }
    }

    /// Waits until these services' routes are back at 100/0, each from `from`, and writes down how long each took.
    pub(super) async fn return_of(
        &self,
        name: &str,
        services: &[String],
        from: Duration,
    ) -> Result<Waits, Error> {
        let all = services.len();
        self.wait(TO_RETURN, || self.routes.back(services, from).len() >= all)
            .await?;
        Ok(self.waits(name, services, from))
    }

    /// How long each of these services took so far.
    pub(super) fn waits(&self, name: &str, services: &[String], from: Duration) -> Waits {
        let waited = self.since(from).as_secs_f64();
        Waits::new(name, &self.routes.back(services, from), services.len(), waited)
    }

    /// Waits until it holds; false where it does not in that time or in what is left of the cell's.
    pub(super) async fn wait(&self, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<bool, Error> {
        let until = (self.now() + limit).min(self.begun + self.limit);
        loop {
            if holds() {
                return Ok(true);
            }
            if self.now() >= until {
                return Ok(false);
            }
            self.all_run()?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until it holds, for as long as the cell has time; else the cell stops there.
    pub(super) async fn must(
        &self,
        holds: impl FnMut() -> bool,
        told: impl Fn() -> String,
    ) -> Result<(), Error> {
        if self.wait(self.limit, holds).await? {
            return Ok(());
        }
        Err(Error::Limit(format!(
            "after {} s {}",
            self.limit.as_secs(),
            told()
        )))
    }

    /// Takes a process out of what has to run.
    pub(super) fn take(&mut self) -> Option<Running> {
        if self.processes.is_empty() {
            None
        } else {
            Some(self.processes.remove(0))
        }
    }

    /// From now on the API server answers so many of its requests a second.
    pub(super) fn limit_requests(&self, per_second: u32) {
        if let Some(limiter) = &self.access.limiter {
            limiter.limit(per_second);
        }
    }

    fn all_run(&self) -> Result<(), Error> {
        let ended = self
            .processes
            .iter()
            .find_map(|running| Some((running, running.process.exited()?)));
        let Some((running, status)) = ended else {
            return Ok(());
        };
        Err(Error::Ended {
            contender: self.contender.name().to_owned(),
            status,
            tail: tail_of(&running.log),
        })
    }
}

fn tail_of(log: &Path) -> String {
    log_tail(log, QUOTED)
}

/// Makes what is there of every service before the contender comes, and waits until its pods are ready.
async fn prepare(ground: &Ground, contender: &dyn Contender, services: &[Service]) -> Result<(), Error> {
    let groups: Vec<_> = services
        .iter()
        .map(|service| contender.workload(service))
        .collect();
    let deployments = groups
        .iter()
        .flatten()
        .filter(|object| object["kind"] == "Deployment")
        .count();
    let seen = Deployments::watch(&ground.client, ground.clock);
    let from = ground.clock.elapsed();
    cluster::create_all(&ground.client, groups).await?;
    while seen.available() < deployments {
        if ground.clock.elapsed().saturating_sub(from) > TO_PREPARE {
            let ready = seen.available();
            return Err(Error::Asked(format!(
                "only {ready} of {deployments} Deployments got their pods"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
