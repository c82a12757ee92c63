//! What went wrong in a runtime: a kind to act on, and a sentence that says what to do.

/// Why a runtime did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub kind: FaultKind,
    /// For a person: what happened, and the way out. Holds no secret.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The runtime can't be asked: nothing is known of its instances.
    Unavailable,
    ImageNotFound,
    ImageAuth,
    RegistryUnreachable,
    NoSpace,
    GpuUnsupported,
    /// Something that isn't ours has the name.
    NameTaken,
    PortInUse,
    /// The instance is there with another spec.
    SpecConflict,
    /// The spec can't be run, here or at all.
    SpecInvalid,
    PermissionDenied,
    InstanceNotFound,
    VolumeInUse,
    /// Anything else that the engine said.
    Engine,
}

impl FaultKind {
    /// The code on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unavailable => "runtime_unavailable",
            Self::ImageNotFound => "image_not_found",
            Self::ImageAuth => "image_auth",
            Self::RegistryUnreachable => "registry_unreachable",
            Self::NoSpace => "no_space",
            Self::GpuUnsupported => "gpu_unsupported",
            Self::NameTaken => "name_conflict",
            Self::PortInUse => "port_in_use",
            Self::SpecConflict => "spec_conflict",
            Self::SpecInvalid => "spec_invalid",
            Self::PermissionDenied => "permission_denied",
            Self::InstanceNotFound => "instance_not_found",
            Self::VolumeInUse => "volume_in_use",
            Self::Engine => "engine_error",
        }
    }

    /// Whether the same call may succeed later though nobody changed anything.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::RegistryUnreachable | Self::PortInUse | Self::Engine)
    }
}

impl Fault {
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
