//! What watches of the bench's own see: the canary's weight of every service, and the contender's objects. When something
//! came about is when its watch event came in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use birdwatch_bed::clock::Stopwatch;
use futures::StreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster,
    contender::Contender,
    manifests::{DEPLOYMENT, Kind, VIRTUAL_SERVICE},
};

/// What is seen of one kind, by the objects' names.
pub(crate) struct Seen<T> {
    objects: Arc<Mutex<HashMap<String, T>>>,
    _watching: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Seen<T> {
    /// Watches; `see` makes of an object, what was known of it and the time what is known now.
    fn new(
        client: &Client,
        kind: Kind,
        clock: Stopwatch,
        see: impl Fn(&DynamicObject, Option<T>, Duration) -> Option<T> + Send + 'static,
    ) -> Self {
        let objects = Arc::new(Mutex::new(HashMap::new()));
        let kept = Arc::clone(&objects);
        let api: Api<DynamicObject> = cluster::of_kind(client, kind);
        let watching = tokio::spawn(async move {
            let watching = watcher(api, watcher::Config::default())
                .default_backoff()
                .applied_objects();
            let mut watching = std::pin::pin!(watching);
            while let Some(object) = watching.next().await {
                let Ok(object) = object else { continue };
                let (name, now) = (object.name_any(), clock.elapsed());
                let mut kept = lock(&kept);
                let before = kept.remove(&name);
                if let Some(known) = see(&object, before, now) {
                    kept.insert(name, known);
                }
            }
        });
        Self {
            objects,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<String, T>> {
        lock(&self.objects)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The canary's share of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Percent.
    weight: i64,
    /// Since when.
    since: Duration,
    /// How often it was raised.
    raises: u64,
}

impl Route {
    fn new(weight: i64, before: Option<Self>, now: Duration) -> Self {
        let Some(before) = before else {
            let raises = u64::from(weight > 0);
            return Self {
                weight,
                since: now,
                raises,
            };
        };
        if before.weight == weight {
            return before;
        }
        Self {
            weight,
            since: now,
            raises: before.raises + u64::from(weight > before.weight),
        }
    }
}

/// The routes of all services.
pub(crate) type Routes = Seen<Route>;

impl Routes {
    pub(crate) fn watch(client: &Client, clock: Stopwatch, contender: &Arc<dyn Contender>) -> Self {
        let contender = Arc::clone(contender);
        Self::new(client, VIRTUAL_SERVICE, clock, move |object, before, now| {
            let weight = contender.canary_weight(&object.data["spec"])?;
            Some(Route::new(weight, before, now))
        })
    }

    /// The services of which the canary has traffic.
    pub(crate) fn with_canary(&self) -> Vec<String> {
        let objects = self.objects();
        let with = objects.iter().filter(|(_, route)| route.weight > 0);
        with.map(|(name, _)| name.clone()).collect()
    }

    /// Of how many of these it has.
    pub(crate) fn count_with_canary(&self, services: &[String]) -> usize {
        let objects = self.objects();
        let routes = services.iter().filter_map(|name| objects.get(name));
        routes.filter(|route| route.weight > 0).count()
    }

    /// How often weights were raised so far, all together.
    pub(crate) fn raises(&self) -> u64 {
        self.objects().values().map(|route| route.raises).sum()
    }

    /// Seconds from `from` to when each of them had no more canary traffic; those that still have some are left out.
    pub(crate) fn back(&self, services: &[String], from: Duration) -> Vec<f64> {
        let objects = self.objects();
        let back = |name: &String| {
            let route = objects.get(name).filter(|route| route.weight == 0)?;
            Some(route.since.checked_sub(from)?.as_secs_f64())
        };
        services.iter().filter_map(back).collect()
    }
}

/// One of the contender's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    is_at_rest: bool,
    /// When it was last written.
    written: Duration,
}

/// All of the contender's objects.
pub(crate) type Owns = Seen<Own>;

impl Owns {
    pub(crate) fn watch(client: &Client, clock: Stopwatch, contender: &Arc<dyn Contender>) -> Self {
        let own = Arc::clone(contender);
        Self::new(client, contender.kind(), clock, move |object, _, now| {
            Some(Own {
                is_at_rest: own.is_at_rest(&object.data),
                written: now,
            })
        })
    }

    /// How many are at rest.
    pub(crate) fn at_rest(&self) -> usize {
        self.objects().values().filter(|own| own.is_at_rest).count()
    }

    /// When that one was last written, where that is after `from`.
    pub(crate) fn written_since(&self, name: &str, from: Duration) -> Option<Duration> {
        let written = self.objects().get(name)?.written;
        (written > from).then_some(written)
    }
}

/// Whether Deployments have all their pods.
pub(crate) type Deployments = Seen<bool>;

impl Deployments {
    pub(crate) fn watch(client: &Client, clock: Stopwatch) -> Self {
        Self::new(client, DEPLOYMENT, clock, |object, _, _| {
            let wanted = &object.data["spec"]["replicas"];
            Some(object.data["status"]["availableReplicas"] == *wanted)
        })
    }

    /// How many have.
    pub(crate) fn available(&self) -> usize {
        self.objects().values().filter(|is| **is).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_weight_counts_from_when_it_came_about() {
        let mut route = Route::new(0, None, at(1));
        for (weight, now) in [(2, 5), (2, 6), (4, 15), (0, 20), (0, 21)] {
            route = Route::new(weight, Some(route), at(now));
        }
        let expected = Route {
            weight: 0,
            since: at(20),
            raises: 2,
        };
        assert_eq!(route, expected);
    }
}
