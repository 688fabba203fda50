//! A safe prefetch.
