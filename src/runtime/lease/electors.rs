//! The electors of all shards, and how a replica with few asks one with many for a shard.

use std::convert::Infallible;

use futures::future::try_join_all;
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
        };
        (Self { electors, asking }, Seats::new(shards, seats))
    }

    /// Waits for leases and leads until `stop`, or until leadership of a shard is lost. On `stop` they are given up as [`Manner`]
    /// says.
    ///
    /// # Errors
    /// [`LeaseError`] when leadership was lost.
    pub async fn run(self, stop: CancellationToken) -> Result<(), LeaseError> {
        let Self { electors, asking } = self;
        let each = electors.into_iter().map(|elector| elector.run(stop.clone()));
        tokio::select! {
            ended = try_join_all(each) => ended.map(drop),
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
}

impl Asking {
    async fn ask(self) -> Infallible {
        let (me, timing) = (&self.config.identity, self.config.timing);
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
