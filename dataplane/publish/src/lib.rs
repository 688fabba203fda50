//! Publication of immutable snapshots to workers.
