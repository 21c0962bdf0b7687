//! Runs the real `orch` against real peers on loopback: one binary for all integration tests.
