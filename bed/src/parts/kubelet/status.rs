//! The status of a pod, made from what its containers do. No I/O, no clock.

use std::{collections::BTreeMap, net::Ipv4Addr};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::board::{Container, Ended, State};

/// Address of the node on which all pods run.
pub(super) const HOST_IP: &str = "127.0.0.1";

/// The conditions of one pod, with when each last changed.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    since: BTreeMap<&'static str, (bool, Timestamp)>,
}

impl Conditions {
    fn set(&mut self, kind: &'static str, holds: bool, reason: Option<&str>, now: Timestamp) -> Value {
        let (before, since) = self.since.entry(kind).or_insert((holds, now));
        if *before != holds {
            (*before, *since) = (holds, now);
        }
        json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "lastTransitionTime": seconds(*since),
            // null: the patch takes away what stood there.
            "reason": reason.filter(|_| !holds),
        })
    }
}

/// What a pod's phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    /// The phase of a pod with these containers.
    pub(super) fn of(containers: &[Container]) -> Self {
        let over = |container: &Container| container.over;
        let clean = |c: &Container| matches!(&c.state, State::Ended(ended) if ended.exit_code == 0);
        let begun = |c: &Container| c.last.is_some() || matches!(c.state, State::Running { .. });
        if !containers.is_empty() && containers.iter().all(over) {
            return if containers.iter().all(clean) {
                Self::Succeeded
            } else {
                Self::Failed
            };
        }
        if containers.iter().all(begun) {
            Self::Running
        } else {
            Self::Pending
        }
    }

    /// Whether nothing more will run in the pod.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// The status to be patched onto a pod that began to be prepared at `begun`.
pub(super) fn status(
    containers: &[Container],
    ip: Option<Ipv4Addr>,
    begun: Timestamp,
    conditions: &mut Conditions,
    now: Timestamp,
) -> Value {
    let phase = Phase::of(containers);
    let ready = containers.iter().all(|container| container.ready);
    let unready = Some(match phase {
        Phase::Succeeded => "PodCompleted",
        Phase::Failed => "PodFailed",
        Phase::Pending | Phase::Running => "ContainersNotReady",
    });
    let mut status = json!({
        "phase": format!("{phase:?}"),
        "hostIP": HOST_IP,
        "hostIPs": [{"ip": HOST_IP}],
        "startTime": seconds(begun),
        "conditions": [
            conditions.set("PodScheduled", true, None, now),
            conditions.set("PodReadyToStartContainers", ip.is_some() && !phase.is_over(), None, now),
            conditions.set("Initialized", true, None, now),
            conditions.set("ContainersReady", ready, unready, now),
            conditions.set("Ready", ready, unready, now),
        ],
        "containerStatuses": containers.iter().map(container_status).collect::<Vec<_>>(),
    });
    if let Some(ip) = ip {
        status["podIP"] = ip.to_string().into();
        status["podIPs"] = json!([{"ip": ip}]);
    }
    status
}

fn container_status(container: &Container) -> Value {
    let Container {
        name,
        image,
        state,
        last,
        started,
        ready,
        restarts,
        over: _,
    } = container;
    // The last end is the present state's own until the container waits or runs again.
    let last = last
        .as_ref()
        .filter(|last| *state != State::Ended((*last).clone()));
    json!({
        "name": name,
        "image": image,
        "imageID": format!("bed://{image}"),
        "started": started,
        "ready": ready,
        "restartCount": restarts,
        "state": match state {
            State::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
            State::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
            State::Running { since } => json!({"running": {"startedAt": seconds(*since)}}),
            State::Ended(ended) => terminated(ended),
        },
        "lastState": last.map_or_else(|| json!({}), terminated),
    })
}

fn terminated(ended: &Ended) -> Value {
    let Ended {
        exit_code,
        message,
        started,
        finished,
    } = ended;
    let mut terminated = json!({
        "exitCode": exit_code,
        "reason": if *exit_code == 0 { "Completed" } else { "Error" },
        "startedAt": seconds(*started),
        "finishedAt": seconds(*finished),
    });
    if !message.is_empty() {
        terminated["message"] = message.as_str().into();
    }
    json!({ "terminated": terminated })
}

/// Whole seconds, as the API keeps times.
pub(super) fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodStatus;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn container(state: State) -> Container {
        let last = match &state {
            State::Ended(ended) => Some(ended.clone()),
            State::Waiting { .. } | State::Running { .. } => None,
        };
        let ready = matches!(state, State::Running { .. });
        let image = "bed/workload:v04".to_owned();
        Container {
            name: "app".to_owned(),
            image,
            state,
            last,
            started: ready,
            ready,
            restarts: 0,
            over: false,
        }
    }

    fn ended(exit_code: i32) -> Ended {
        Ended {
            exit_code,
            message: String::new(),
            started: at(1),
            finished: at(5),
        }
    }

    fn running() -> Container {
        container(State::Running { since: at(1) })
    }

    fn over(exit_code: i32) -> Container {
        Container {
            over: true,
            ..container(State::Ended(ended(exit_code)))
        }
    }

    fn read(containers: &[Container], conditions: &mut Conditions, now: i64) -> PodStatus {
        let ip = Some(Ipv4Addr::new(127, 7, 9, 1));
        serde_json::from_value(status(containers, ip, at(0), conditions, at(now))).unwrap()
    }

    #[test]
    fn the_phase_follows_the_containers() {
        let waiting = || {
            container(State::Waiting {
                reason: "ContainerCreating",
                message: String::new(),
            })
        };
        assert_eq!(Phase::of(&[waiting()]), Phase::Pending);
        assert_eq!(Phase::of(&[running(), waiting()]), Phase::Pending);
        assert_eq!(Phase::of(&[running()]), Phase::Running);
        assert_eq!(Phase::of(&[container(State::Ended(ended(1)))]), Phase::Running);
        assert_eq!(Phase::of(&[over(0), running()]), Phase::Running);
        assert_eq!(Phase::of(&[over(0), over(0)]), Phase::Succeeded);
        assert_eq!(Phase::of(&[over(0), over(3)]), Phase::Failed);
    }

    #[test]
    fn a_running_pod_is_ready_with_its_sister_conditions_and_its_address() {
        let status = read(&[running()], &mut Conditions::default(), 9);
        assert_eq!(status.phase.as_deref(), Some("Running"));
        assert_eq!(status.pod_ip.as_deref(), Some("127.7.9.1"));
        let conditions = status.conditions.unwrap();
        assert_eq!(conditions.len(), 5);
        assert!(
            conditions.iter().all(|condition| condition.status == "True"),
            "{conditions:?}"
        );
        let containers = status.container_statuses.unwrap();
        assert!(containers[0].ready && containers[0].last_state.as_ref().unwrap().terminated.is_none());
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let mut conditions = Conditions::default();
        let mut ready_since = |container: Container, now| {
            let status = read(&[container], &mut conditions, now);
            let ready = status
                .conditions
                .unwrap()
                .into_iter()
                .find(|condition| condition.type_ == "Ready");
            ready.unwrap().last_transition_time.unwrap().0
        };
        assert_eq!(ready_since(running(), 10), at(10));
        assert_eq!(ready_since(running(), 20), at(10));
        assert_eq!(
            ready_since(
                Container {
                    ready: false,
                    ..running()
                },
                30
            ),
            at(30)
        );
    }

    #[test]
    fn a_crash_looping_container_shows_its_last_end_and_why_it_waits() {
        let waiting = State::Waiting {
            reason: "CrashLoopBackOff",
            message: "back-off 2s".to_owned(),
        };
        let looping = Container {
            last: Some(ended(137)),
            restarts: 1,
            ..container(waiting)
        };
        let status = read(&[looping], &mut Conditions::default(), 9);
        assert_eq!(status.phase.as_deref(), Some("Running"));
        let shown = &status.container_statuses.unwrap()[0];
        let waiting = shown.state.as_ref().unwrap().waiting.as_ref().unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        let last = shown.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!((last.exit_code, shown.restart_count), (137, 1));
    }

    #[test]
    fn a_finished_container_tells_its_exit_code_once() {
        let status = read(&[over(3)], &mut Conditions::default(), 9);
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        let shown = &status.container_statuses.unwrap()[0];
        assert_eq!(
            shown
                .state
                .as_ref()
                .unwrap()
                .terminated
                .as_ref()
                .unwrap()
                .exit_code,
            3
        );
        assert!(shown.last_state.as_ref().unwrap().terminated.is_none());
    }
}
