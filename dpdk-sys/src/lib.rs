//! Raw bindings to the installed libdpdk, and a shim for its static inlines.
