//! Why a container does not start, in the words of a real kubelet.

/// Reason and message of a waiting container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Problem {
    /// No such image.
    pub(super) fn image(image: &str) -> Self {
        let message = format!("the toy kubelet knows no image {image:?}");
        Self {
            reason: "ErrImagePull",
            message,
        }
    }

    /// Something the container's spec names is missing or cannot be done here.
    pub(super) fn config(message: impl Into<String>) -> Self {
        Self {
            reason: "CreateContainerConfigError",
            message: message.into(),
        }
    }

    /// A volume cannot be made.
    pub(super) fn volume(message: impl Into<String>) -> Self {
        Self {
            reason: "ContainerCreating",
            message: message.into(),
        }
    }

    /// The process did not start.
    pub(super) fn run(message: impl Into<String>) -> Self {
        Self {
            reason: "RunContainerError",
            message: message.into(),
        }
    }
}
