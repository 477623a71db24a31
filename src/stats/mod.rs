//! Statistics: accumulators of second moments, and the snapshots they give.
