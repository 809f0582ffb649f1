//! The series of an answer, shared instead of copied: there may be a million samples in them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::observation::SampleSeries;

/// What is let go when the last one who reads the series lets go of them; what it stands for is the shell's.
pub type Keeper = Box<dyn Send + Sync>;

/// Series that all who read them share.
#[derive(Clone, Default)]
pub struct SampleSet(Arc<Shared>);

#[derive(Default)]
struct Shared {
    series: Vec<SampleSeries>,
    _keeper: Option<Keeper>,
}

impl SampleSet {
    /// Series with what has to last as long as they do.
    #[must_use]
    pub fn kept(series: Vec<SampleSeries>, keeper: Keeper) -> Self {
        Self(Arc::new(Shared {
            series,
            _keeper: Some(keeper),
        }))
    }
}

impl Deref for SampleSet {
    type Target = [SampleSeries];

    fn deref(&self) -> &[SampleSeries] {
        &self.0.series
    }
}

impl<'a> IntoIterator for &'a SampleSet {
    type Item = &'a SampleSeries;
    type IntoIter = std::slice::Iter<'a, SampleSeries>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Vec<SampleSeries>> for SampleSet {
    fn from(series: Vec<SampleSeries>) -> Self {
        Self(Arc::new(Shared {
            series,
            _keeper: None,
        }))
    }
}

impl FromIterator<SampleSeries> for SampleSet {
    fn from_iter<I: IntoIterator<Item = SampleSeries>>(all: I) -> Self {
        all.into_iter().collect::<Vec<_>>().into()
    }
}

impl PartialEq for SampleSet {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for SampleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}
