//! The numbers among the `deployments.*` keys: fields of [`DeploymentConfig`], their ranges and how to reach them.

use std::time::Duration;

use registry::DeploymentConfig;

use super::limits::Row;

const DAY_S: u64 = 86_400;

pub const ROWS: &[Row<DeploymentConfig>] = &[
    Row {
        key: "deployments.drain_timeout_s",
        min: 0,
        max: DAY_S,
        get: |config| config.drain_timeout.as_secs(),
        set: |config, value| config.drain_timeout = Duration::from_secs(value),
    },
    Row {
        key: "deployments.stop_grace_s",
        min: 0,
        max: DAY_S,
        get: |config| config.stop_grace.as_secs(),
        set: |config, value| config.stop_grace = Duration::from_secs(value),
    },
    Row {
        key: "deployments.probe_timeout_ms",
        min: 100,
        max: 60_000,
        get: |config| u64::try_from(config.probe_timeout.as_millis()).unwrap_or(u64::MAX),
        set: |config, value| config.probe_timeout = Duration::from_millis(value),
    },
    Row {
        key: "deployments.probe_failures",
        min: 1,
        max: 100,
        get: |config| config.probe_failures.into(),
        set: |config, value| config.probe_failures = value.try_into().unwrap_or(config.probe_failures),
    },
];
