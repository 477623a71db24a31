//! Minibatches: index lists without replacement, every epoch in a new order that depends on (seed, epoch) only.
//!
//! Cost        n swaps an epoch, no allocation after construction.
//! Laws        tests/data_sets.rs.

use crate::error::{Error, Result};
use crate::random::Draws;

/// What happens to the n mod b cases at the end of an epoch which do not fill a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Partial {
    /// They are left out of this epoch: every batch has the full size. The next order brings others to the end.
    #[default]
    Drop,
    /// They come as a last, smaller batch.
    Keep,
}

/// An endless sequence of index lists.
///
/// ```
/// use pullback::nn::data::{Minibatches, Partial};
/// let mut batches = Minibatches::new(10, 4, 7, Partial::Keep)?;
/// let mut epoch: Vec<usize> = (0..3).flat_map(|_| batches.next_batch().to_vec()).collect();
/// epoch.sort();
/// assert_eq!(epoch, (0..10).collect::<Vec<_>>());
/// # Ok::<(), pullback::Error>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(into = "Place", try_from = "Place"))]
pub struct Minibatches {
    order: Vec<usize>,
    batch: usize,
    seed: u64,
    partial: Partial,
    epoch: u64,
    position: usize,
}

/// Where a sequence has come to: its orders follow from (seed, epoch) and need not be stored.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Place {
    cases: usize,
    batch: usize,
    seed: u64,
    partial: Partial,
    epoch: u64,
    position: usize,
}

#[cfg(feature = "serde")]
impl From<Minibatches> for Place {
    fn from(m: Minibatches) -> Self {
        let Minibatches { order, batch, seed, partial, epoch, position } = m;
        Self { cases: order.len(), batch, seed, partial, epoch, position }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Place> for Minibatches {
    type Error = Error;
    fn try_from(Place { cases, batch, seed, partial, epoch, position }: Place) -> Result<Self> {
        if position > cases {
            return Err(Error::invalid("position", format!("{position} is beyond the {cases} cases of an epoch")));
        }
        if cases > MOST_RESTORED {
            return Err(Error::invalid("cases", format!("{cases} cannot be the number of cases of a data set")));
        }
        let mut new = Self::new(cases, batch, seed, partial)?;
        (new.epoch, new.position) = (epoch, position);
        new.reorder();
        Ok(new)
    }
}

/// More cases than a data set can have; a number beyond is no reason to ask for its memory.
#[cfg(feature = "serde")]
const MOST_RESTORED: usize = 1 << 28;

impl Minibatches {
    /// Batches of `batch` of the cases 0..n.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] unless 1 <= batch <= n.
    pub fn new(n: usize, batch: usize, seed: u64, partial: Partial) -> Result<Self> {
        if batch == 0 || batch > n {
            return Err(Error::invalid("batch", format!("must be from 1 to the number of cases ({n}), found {batch}")));
        }
        let mut new = Self { order: (0..n).collect(), batch, seed, partial, epoch: 0, position: 0 };
        new.reorder();
        Ok(new)
    }

    /// The epoch (from 0) which the batch returned last belongs to.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Batches in one epoch.
    pub fn per_epoch(&self) -> usize {
        match self.partial {
            Partial::Drop => self.order.len() / self.batch,
            Partial::Keep => self.order.len().div_ceil(self.batch),
        }
    }

    /// The next batch's case indices.
    pub fn next_batch(&mut self) -> &[usize] {
        let left = self.order.len() - self.position;
        let exhausted = match self.partial {
            Partial::Drop => left < self.batch,
            Partial::Keep => left == 0,
        };
        if exhausted {
            self.epoch += 1;
            self.position = 0;
            self.reorder();
        }
        let start = self.position;
        self.position = (start + self.batch).min(self.order.len());
        &self.order[start..self.position]
    }

    /// From the identity each time, so that an epoch's order does not depend on the epochs before it.
    fn reorder(&mut self) {
        self.order.iter_mut().enumerate().for_each(|(i, slot)| *slot = i);
        Draws::new(self.seed, self.epoch).shuffle(&mut self.order);
    }
}
