//! The text of `/metrics`, shared among all who ask: however many read it slowly or not at all, a few are kept. Reads the
//! metrics, and knows no connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::runtime::metrics::Metrics;

/// Who asks sooner gets the same text: many who ask have it made ten times a second and no more.
const FRESH: Duration = Duration::from_millis(100);

/// The most texts in memory at a time, of some megabytes each at the most series. When all are being read, the last one made is
/// served until one is let go: it is then no older than a connection may take.
const MOST_TEXTS: usize = 3;

/// Makes the texts, and keeps the last.
#[derive(Debug)]
pub(super) struct Texts {
    metrics: Metrics,
    places: Arc<Semaphore>,
    last: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    at: Instant,
    text: Bytes,
}

/// A text in its place, which is free again when the last reader has let go of it.
struct Placed {
    text: Box<str>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Texts {
    /// Of these metrics; none is made yet.
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            places: Arc::new(Semaphore::new(MOST_TEXTS)),
            last: Mutex::default(),
        }
    }

    /// A text of now, or the last one made.
    pub(super) async fn get(&self) -> Result<Bytes, fmt::Error> {
        // Held while one is made, so that those who ask meanwhile get that one.
        let mut last = self.last.lock().await;
        if let Some(made) = last.as_ref().filter(|made| made.at.elapsed() < FRESH) {
            return Ok(made.text.clone());
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            // The last one has a place itself, so there is one.
            return last.as_ref().map(|made| made.text.clone()).ok_or(fmt::Error);
        };
        let placed = Placed {
            text: self.metrics.text()?.into_boxed_str(),
            _place: place,
        };
        let text = Bytes::from_owner(placed);
        *last = Some(Made {
            at: Instant::now(),
            text: text.clone(),
        });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tokio::time::advance;

    /// Which text it is; it says so only as long as the text is kept.
    fn which(text: &Bytes) -> usize {
        text.as_ptr().addr()
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_at_once_gets_the_same_text_and_later_a_new_one() {
        let metrics = Metrics::new();
        let texts = Texts::new(metrics.clone());
        let first = texts.get().await.unwrap();
        metrics.prometheus_at_start("the-new-one", None);
        let again = texts.get().await.unwrap();
        assert_eq!(which(&first), which(&again));
        advance(FRESH).await;
        let later = texts.get().await.unwrap();
        let is_told = |text: &Bytes| String::from_utf8_lossy(text).contains("the-new-one");
        assert!(is_told(&later) && !is_told(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_keep_their_texts_keep_no_more_than_there_are_places() {
        let texts = Texts::new(Metrics::new());
        let mut kept = Vec::new();
        for _ in 0..64 {
            kept.push(texts.get().await.unwrap());
            advance(FRESH).await;
        }
        let different: BTreeSet<usize> = kept.iter().map(which).collect();
        assert_eq!(different.len(), MOST_TEXTS);
        let last = texts.get().await.unwrap();
        assert_eq!(Some(which(&last)), kept.last().map(which));
        kept.remove(0);
        let new = texts.get().await.unwrap();
        assert_ne!(which(&new), which(&last), "there is a place again");
    }
}
