//! The electors of all shards, and how a replica with few asks one with many for a shard.

use std::convert::Infallible;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::Client;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;

use super::board::{Board, to_ask_for};
use super::elector::{Elector, LeaseError};
use super::record;
use super::seat::{Seat, Seats, Work};
use super::store::{Failure, News, Store, jittered};
use super::{Leadership, LeaseConfig, Manner};

/// Holds the leases of shards for this process. Run it beside everything else; when it ends in an error, end the process.
#[derive(Debug)]
pub struct Electors {
    electors: Vec<Elector>,
    asking: Asking,
}

impl Electors {
    /// Electors for `config`, and what they publish of who leads (at first nobody: `Standby`).
    #[must_use]
    pub fn new(client: &Client, config: &LeaseConfig, clock: &Clock, metrics: &Metrics) -> (Self, Seats) {
        let shards = config.shards;
        let count = shards.all().count();
        metrics.shards(count);
        let board = Board::new(count);
        let (mut electors, mut seats, mut stores) = (Vec::new(), Vec::new(), Vec::new());
        for shard in shards.all() {
            let store = Store::new(client.clone(), config, shard);
            let (leadership, receiver) = watch::channel(Leadership::Standby);
            let work = Work::default();
            stores.push(store.clone());
            seats.push(Seat::new(receiver, work.clone()));
            electors.push(Elector::new(
                (store, config.clone()),
                (shard, board.clone()),
                work,
                (clock.clone(), metrics.clone()),
                leadership,
            ));
        }
        let config = config.clone();
        let asking = Asking {
            config,
            board,
            stores,
            clock: clock.clone(),
            ready: CancellationToken::new(),
        };
        (Self { electors, asking }, Seats::new(shards, seats))
    }

    /// To be cancelled when the rest of the process could act: before that it asks for nothing and lets others go first.
    #[must_use]
    pub fn ready(&self) -> CancellationToken {
        self.asking.ready.clone()
    }

    /// Waits for leases and leads until `stop`, or until leadership of a shard is lost. On `stop` they are given up as [`Manner`]
    /// says.
    ///
    /// # Errors
    /// [`LeaseError`] when leadership was lost.
    pub async fn run(self, stop: CancellationToken) -> Result<(), LeaseError> {
        let Self { electors, asking } = self;
        let (stop, within) = (stop.child_token(), asking.config.timing.renew_interval());
        let mut running: FuturesUnordered<_> = electors
            .into_iter()
            .map(|elector| elector.run(stop.clone()))
            .collect();
        let all = async {
            while let Some(ended) = running.next().await {
                if ended.is_err() {
                    // The others are given up in order.
                    stop.cancel();
                    let rest = running.by_ref().for_each(async |_| {});
                    let _ = timeout(within, rest).await;
                    return ended;
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = all => ended,
            never = asking.ask() => match never {},
        }
    }
}

/// Asks for shards where others have more.
#[derive(Debug)]
struct Asking {
    config: LeaseConfig,
    board: Board,
    stores: Vec<Store>,
    clock: Clock,
    ready: CancellationToken,
}

impl Asking {
    async fn ask(self) -> Infallible {
        let (me, timing) = (&self.config.identity, self.config.timing);
        self.until_no_other_split_acts().await;
        self.ready.cancelled().await;
        self.board.settled.cancel();
        let mut posts = self.board.posts();
        loop {
            let wanted = to_ask_for(&posts.borrow_and_update(), me);
            let wanted = wanted.filter(|_| self.config.manner == Manner::Candidate);
            if let Some(index) = wanted {
                // Of several that have none the others see the first one's wish.
                sleep(jittered(timing.retry())).await;
                if to_ask_for(&posts.borrow_and_update(), me) == wanted
                    && let Err(failure) = self.ask_for(index).await
                {
                    tracing::debug!(lease = self.stores[index].name, %failure, "the lease could not be asked for");
                }
            }
            // What was asked for is seen on the board when it stands; where it never comes to that it is asked for again.
            let _ = timeout(timing.duration(), posts.changed()).await;
        }
    }

    /// Looks from the start on, so that it is known how long those of another number of shards have been silent.
    async fn until_no_other_split_acts(&self) {
        let (timing, Some(store)) = (self.config.timing, self.stores.first()) else {
            return;
        };
        loop {
            match store.of_other_splits(&self.config).await {
                Ok(leases) => {
                    let (now, mut others) = (self.clock.monotonic(), self.board.others());
                    others.see(leases, timing.duration(), now);
                    if others.acting(timing.duration(), now).is_none() {
                        return;
                    }
                }
                Err(error) => tracing::debug!(%error, "the leases could not be listed; trying again"),
            }
            sleep(jittered(timing.retry())).await;
        }
    }

    /// Sets the wish, if the lease is as it is seen on the board.
    async fn ask_for(&self, index: usize) -> Result<(), Failure> {
        let (store, me) = (&self.stores[index], &self.config.identity);
        let seen = self.board.posts().borrow()[index].holder.clone();
        let News::Found(lease) = store.read().await? else {
            return Err(Failure::Stale);
        };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        if holder != seen || record::asked_for_by(&lease).is_some() {
            return Err(Failure::Stale);
        }
        store.write(record::asked_for(*lease, me), true).await?;
        tracing::info!(
            lease = store.name,
            holder,
            "asked for this lease: its holder has more than we"
        );
        Ok(())
    }
}
