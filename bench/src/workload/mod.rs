//! What contenders are given to do. A workload is named by what happens, to how many services, at which check interval:
//! `fault-100-1s`. Which steps a contender takes for it is its own affair.

mod fault;
mod idle;
mod one;
mod replicas;
mod scene;
mod sick;
mod start;

use std::{fmt, str::FromStr, sync::Arc};

use scene::Scene;
pub(crate) use scene::Settings;

use crate::{
    contender::{Contender, Pace, Service},
    error::Error,
    results::Measurement,
    telemetry::Server,
};

/// What a whole run goes through, the shortest first.
pub(crate) const ALL: [&str; 17] = [
    "idle-100",
    "fault-3-1s",
    "fault-100-10s",
    "fault-100-1s",
    "one-100-1s",
    "sick-100-10s",
    "limited-100-1s",
    "restart-100-1s",
    "handover-100-1s",
    "crash-100-1s",
    "idle-1000",
    "start-1000",
    "fault-1000-10s",
    "fault-1000-1s",
    "one-1000-10s",
    "idle-10000",
    "start-10000",
];

/// Seconds at each weight: every contender takes its steps at this pace.
const HOLD: u32 = 10;
/// Percent a step, so that the longest workload ends before the rollouts do.
const INCREMENT: u32 = 2;
/// Where nothing is checked, objects say this.
const CHECK: u32 = 10;
/// What an API server answers in a second that is limited.
const LIMITED: u32 = 50;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Idle,
    /// All roll out; at an instant all readings are bad.
    Fault,
    /// All roll out; one after the other, ten turn bad.
    One,
    /// A fault where one service in ten asks a slow Prometheus and one in ten a dead one.
    Sick,
    /// A fault behind an API server that answers 50 requests a second.
    Limited,
    /// The process starts, and finds everything there and one new version.
    Start,
    /// A fault at the moment in which the process starts again.
    Restart,
    /// A fault at the moment in which the leader is told to end.
    Handover,
    /// A fault at the moment in which the leader is killed.
    Crash,
}

const KINDS: [(&str, Kind); 9] = [
    ("idle", Kind::Idle),
    ("fault", Kind::Fault),
    ("one", Kind::One),
    ("sick", Kind::Sick),
    ("limited", Kind::Limited),
    ("start", Kind::Start),
    ("restart", Kind::Restart),
    ("handover", Kind::Handover),
    ("crash", Kind::Crash),
];

/// Work that is the same for every contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    kind: Kind,
    /// How many services.
    pub(crate) objects: usize,
    /// Seconds between two checks; None where nothing is checked.
    check: Option<u32>,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS
            .iter()
            .find(|(_, kind)| *kind == self.kind)
            .map_or("", |(name, _)| name);
        write!(f, "{name}-{}", self.objects)?;
        self.check.map_or(Ok(()), |check| write!(f, "-{check}s"))
    }
}

impl FromStr for Workload {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let mut parts = text.split('-');
            let name = parts.next()?;
            let kind = KINDS.iter().find(|(known, _)| *known == name)?.1;
            let objects = parts
                .next()?
                .parse::<usize>()
                .ok()
                .filter(|objects| *objects > 0)?;
            let check = match parts.next() {
                Some(check) => Some(
                    check
                        .strip_suffix('s')?
                        .parse::<u32>()
                        .ok()
                        .filter(|check| *check > 0)?,
                ),
                None => None,
            };
            let has_checks = !matches!(kind, Kind::Idle | Kind::Start);
            let is_whole = parts.next().is_none() && check.is_some() == has_checks;
            is_whole.then_some(Self { kind, objects, check })
        };
        read().ok_or_else(|| {
            let all = ALL.join(", ");
            Error::Asked(format!("{text} is no workload; those of a whole run are {all}"))
        })
    }
}

impl Workload {
    /// The services of it.
    fn services(self) -> Vec<Service> {
        let server = |number: usize| match (self.kind, number % 10) {
            (Kind::Sick, 3) => Server::Slow,
            (Kind::Sick, 7) => Server::Dead,
            _ => Server::Fine,
        };
        let service = |number| Service {
            name: format!("svc-{number}"),
            server: server(number),
        };
        (0..self.objects).map(service).collect()
    }

    /// How that contender goes about it.
    fn pace(self, contender: &dyn Contender) -> Pace {
        Pace {
            check: self.check.unwrap_or(CHECK).max(contender.shortest_check()),
            hold: HOLD,
            increment: INCREMENT,
        }
    }

    /// Has the contender do it, and writes down what was seen, as far as it comes.
    ///
    /// # Errors
    /// [`Error::Limit`] where the time of a cell was over; what was measured before is there.
    pub(crate) async fn run(
        self,
        settings: &Settings,
        contender: Arc<dyn Contender>,
        seen: &mut Measurement,
    ) -> Result<(), Error> {
        let pace = self.pace(&*contender);
        if self.check.is_some_and(|check| check < pace.check) {
            seen.notes
                .push(format!("checked every {} s, its shortest interval", pace.check));
        }
        let is_limited = self.kind == Kind::Limited;
        let mut scene = Box::pin(Scene::set(settings, contender, self.services(), pace, is_limited)).await?;
        let scene = &mut scene;
        match self.kind {
            Kind::Idle => idle::run(scene, seen).await,
            Kind::Fault => fault::run(scene, seen, None).await,
            Kind::Limited => fault::run(scene, seen, Some(LIMITED)).await,
            Kind::One => one::run(scene, seen).await,
            Kind::Sick => sick::run(scene, seen).await,
            Kind::Start => start::run(scene, seen).await,
            Kind::Restart => replicas::restart(scene, seen).await,
            Kind::Handover => replicas::change(scene, seen, replicas::End::Told).await,
            Kind::Crash => replicas::change(scene, seen, replicas::End::Killed).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::by_name;

    #[test]
    fn every_workload_is_read_as_it_is_written() {
        for name in ALL {
            assert_eq!(name.parse::<Workload>().unwrap().to_string(), name);
        }
        for name in [
            "",
            "idle",
            "idle-0",
            "idle-5-1s",
            "fault-5",
            "fault-5-0s",
            "fault-5-1",
            "x-5",
            "fault-5-1s-2",
        ] {
            assert!(name.parse::<Workload>().is_err(), "{name}");
        }
    }

    #[test]
    fn of_ten_services_one_asks_a_slow_server_and_one_a_dead_one_where_some_are_sick() {
        let servers = |name: &str| {
            let services = name.parse::<Workload>().unwrap().services();
            Server::ALL.map(|server| services.iter().filter(|service| service.server == server).count())
        };
        assert_eq!(servers("sick-100-10s"), [80, 10, 10]);
        assert_eq!(servers("fault-100-10s"), [100, 0, 0]);
    }

    #[test]
    fn nobody_is_asked_to_check_more_often_than_it_can() {
        let pace = |name: &str| {
            "fault-3-1s"
                .parse::<Workload>()
                .unwrap()
                .pace(&*by_name(name).unwrap())
        };
        assert_eq!(pace("argo").check, 1);
        assert_eq!(pace("flagger").check, 10);
    }
}
