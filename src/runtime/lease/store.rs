//! The Lease object of a shard on the API server: read, written by compare-and-swap, and followed. Every call has a time
//! limit. What `follow` reports is news, not truth: a watch may be late or dead, so a write settles every decision.

use crate::clients::api_server::WATCH_SECONDS;

use super::{LeaseConfig, Shard, Timing};
use backon::{BackoffBuilder, ConstantBuilder};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// How many leases are asked for at a time.
const PAGE: u32 = 50;

/// The latest news of the lease.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// The API server has not answered yet.
    Unread,
    /// There is no such lease.
    Missing,
    /// The lease as it was read.
    Found(Box<Lease>),
}

impl From<Option<Lease>> for News {
    fn from(lease: Option<Lease>) -> Self {
        lease.map_or(Self::Missing, |lease| Self::Found(Box::new(lease)))
    }
}

/// Why one call did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The lease is not what we thought it was: read it again.
    #[error("the lease is not as it was last read: changed, deleted, or its namespace is missing")]
    Stale,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Where the lease is kept.
#[derive(Clone, Debug)]
pub(super) struct Store {
    api: Api<Lease>,
    pub(super) name: String,
    timing: Timing,
}

impl Store {
    pub(super) fn new(client: Client, config: &LeaseConfig, shard: Shard) -> Self {
        let api = Api::namespaced(client, &config.namespace);
        Self {
            api,
            name: config.shards.lease_name(&config.name, shard),
            timing: config.timing,
        }
    }

    /// The leases of the same installation, split into another number of shards. Read from the store behind the API server:
    /// two who each wrote their own before they look cannot miss each other.
    pub(super) async fn of_other_splits(&self, config: &LeaseConfig) -> Result<Vec<Lease>, Failure> {
        let mut params = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = within(self.timing.call_timeout(), self.api.list(&params)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        let is_other = |lease: &Lease| {
            let name = lease.metadata.name.as_deref().unwrap_or_default();
            config.shards.is_of_other_split(&config.name, name)
        };
        Ok(all.into_iter().filter(is_other).collect())
    }

    pub(super) async fn read(&self) -> Result<News, Failure> {
        within(self.timing.call_timeout(), self.api.get_opt(&self.name))
            .await
            .map(News::from)
    }

    /// Replaces the lease if it still has the resourceVersion in `lease`; creates it when it does not exist.
    pub(super) async fn write(&self, mut lease: Lease, exists: bool) -> Result<Lease, Failure> {
        let params = PostParams {
            field_manager: Some("birdwatch".to_owned()),
            ..PostParams::default()
        };
        lease.metadata.managed_fields = None;
        let call = async {
            if exists {
                return self.api.replace(&self.name, &params, &lease).await;
            }
            lease.metadata = ObjectMeta {
                name: Some(self.name.clone()),
                labels: lease.metadata.labels.take(),
                annotations: lease.metadata.annotations.take(),
                ..ObjectMeta::default()
            };
            self.api.create(&params, &lease).await
        };
        within(self.timing.call_timeout(), call).await
    }

    /// Reports news of the lease for as long as anyone listens.
    pub(super) async fn follow(self, news: watch::Sender<News>) {
        while !news.is_closed() {
            let soonest = Instant::now() + jittered(self.timing.retry());
            if let Err(error) = self.read_and_watch(&news).await {
                tracing::debug!(%error, lease = self.name, "watching the lease failed; it is read again");
            }
            sleep_until(soonest).await;
        }
    }

    async fn read_and_watch(&self, news: &watch::Sender<News>) -> Result<(), Failure> {
        let found = self.read().await?;
        let version = match &found {
            News::Found(lease) => lease.metadata.resource_version.clone(),
            News::Missing | News::Unread => None,
        };
        news.send_replace(found);

        let only = format!("metadata.name={}", self.name);
        let params = WatchParams::default().fields(&only).timeout(WATCH_SECONDS);
        let silence = Duration::from_secs(u64::from(WATCH_SECONDS)) + self.timing.call_timeout();
        let watched = async {
            let events = self.api.watch(&params, version.as_deref().unwrap_or("0")).await?;
            pin_mut!(events);
            while let Some(event) = events.next().await {
                news.send_replace(match event? {
                    WatchEvent::Added(lease) | WatchEvent::Modified(lease) => Some(lease).into(),
                    WatchEvent::Deleted(_) => News::Missing,
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                });
            }
            Ok(())
        };
        within(silence, watched).await
    }
}

/// Between one and two times `pause`, so that replicas do not retry in step.
pub(super) fn jittered(pause: Duration) -> Duration {
    ConstantBuilder::default()
        .with_delay(pause)
        .with_jitter()
        .build()
        .next()
        .unwrap_or(pause)
}

async fn within<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status)))
            if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
        {
            Err(Failure::Stale)
        }
        Ok(Err(error)) => Err(Failure::Other(error.to_string())),
        Err(_) => Err(Failure::Other(format!("no answer within {limit:?}"))),
    }
}
