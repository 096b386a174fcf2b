//! Instances: what RunInstances makes. Nothing runs.

use crate::state::{Progress, Tags};
use std::time::SystemTime;

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// Starting.
    Pending,
    /// Up.
    Running,
    /// TerminateInstances was called.
    ShuttingDown,
    /// Gone; told for a while.
    Terminated,
}

impl InstanceState {
    /// As DescribeInstances tells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
        }
    }

    /// EC2's number of it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            InstanceState::Pending => 0,
            InstanceState::Running => 16,
            InstanceState::ShuttingDown => 32,
            InstanceState::Terminated => 48,
        }
    }
}

/// An instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// Of the call that made it.
    pub reservation: String,
    /// Its account.
    pub owner: String,
    /// The image.
    pub image: String,
    /// Such as `t3.nano`.
    pub instance_type: String,
    /// Its state and where that leads.
    pub progress: Progress<InstanceState>,
    /// Its tags.
    pub tags: Tags,
    /// As it came, base64.
    pub user_data: Option<String>,
    /// The subnet, as asked for or the default one.
    pub subnet: String,
    /// When it was launched.
    pub launched: SystemTime,
    /// Every parameter of RunInstances, as it came.
    pub request: Tags,
}

impl Instance {
    /// Its state.
    #[must_use]
    pub fn state(&self) -> InstanceState {
        self.progress.state()
    }
}

/// Instance types that the stand-in has: name, architecture, vCPUs, MiB, whether it boots UEFI, whether it has NitroTPM.
pub(crate) const TYPES: &[(&str, &str, u32, u32, bool, bool)] = &[
    ("t2.micro", "x86_64", 1, 1024, false, false),
    ("t3.nano", "x86_64", 2, 512, true, true),
    ("t3.micro", "x86_64", 2, 1024, true, true),
    ("t3.small", "x86_64", 2, 2048, true, true),
    ("m5.large", "x86_64", 2, 8192, true, true),
    ("m7i.large", "x86_64", 2, 8192, true, true),
    ("c6a.large", "x86_64", 2, 4096, true, true),
    ("m5.metal", "x86_64", 96, 393_216, false, false),
    ("t4g.nano", "arm64", 2, 512, true, true),
    ("t4g.micro", "arm64", 2, 1024, true, true),
    ("t4g.small", "arm64", 2, 2048, true, true),
    ("m7g.large", "arm64", 2, 8192, true, true),
    ("c7g.large", "arm64", 2, 4096, true, true),
];
