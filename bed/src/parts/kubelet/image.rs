//! Images: which program stands for which image. There is no registry; an image is a name for a local program.

use std::{collections::BTreeMap, path::PathBuf};

/// The repository of the service that the bed's pods run.
pub const WORKLOAD_REPOSITORY: &str = "bed/workload";

/// The program behind an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) binary: PathBuf,
    /// It is the bed's own workload, whose image brings environment and a readiness probe along.
    pub(super) is_workload: bool,
}

/// The images that a kubelet can run, by repository; every tag of one is the same program.
#[derive(Clone, Debug, Default)]
pub struct Images {
    programs: BTreeMap<String, PathBuf>,
}

impl Images {
    /// The workload alone, which `binary` is.
    #[must_use]
    pub fn new(workload: PathBuf) -> Self {
        Self::default().with(WORKLOAD_REPOSITORY, workload)
    }

    /// One more image: `repository` as written, or any that ends in it (`birdwatch` is also
    /// `registry.example/team/birdwatch`).
    #[must_use]
    pub fn with(mut self, repository: &str, binary: PathBuf) -> Self {
        self.programs.insert(repository.to_owned(), binary);
        self
    }

    pub(super) fn find(&self, image: &str) -> Option<Program> {
        let asked = repository(image);
        let (known, binary) = self.programs.iter().find(|(known, _)| {
            asked
                .strip_suffix(known.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        })?;
        Some(Program {
            binary: binary.clone(),
            is_workload: known == WORKLOAD_REPOSITORY,
        })
    }
}

/// An image's name without tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    match name.rsplit_once(':') {
        // A colon before the last slash belongs to a registry's port.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_repository_whatever_its_registry_tag_and_digest() {
        let images = Images::new("/w".into()).with("birdwatch", "/b".into());
        let binary = |image| images.find(image).map(|program| program.binary);
        for image in [
            "birdwatch",
            "birdwatch:dev",
            "ghcr.io/x/birdwatch:1.0@sha256:ab",
            "host:5000/birdwatch",
        ] {
            assert_eq!(binary(image), Some("/b".into()), "{image}");
        }
        assert!(
            images
                .find("bed/workload:v04")
                .is_some_and(|program| program.is_workload)
        );
        for image in ["notbirdwatch:1", "workload:v04", "birdwatch/other", ""] {
            assert_eq!(binary(image), None, "{image}");
        }
    }
}
