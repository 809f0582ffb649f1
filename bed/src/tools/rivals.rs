//! The operators that `BirdWatch` is measured beside, as pinned Go tool modules. Only `make bench` builds them.

use super::{Crds, Module};

/// Flagger and Argo Rollouts. Their kinds lie in their own modules.
pub(super) static RIVALS: [Module; 2] = [
    Module {
        dir: "flagger",
        flags: &[],
        ldflags: "-s -w",
        programs: &[("flagger", "github.com/fluxcd/flagger/cmd/flagger")],
        crds: Some(Crds {
            of: "github.com/fluxcd/flagger",
            files: &["artifacts/flagger/crd.yaml"],
        }),
    },
    Module {
        dir: "argo",
        flags: &[],
        ldflags: "-s -w",
        programs: &[(
            "rollouts-controller",
            "github.com/argoproj/argo-rollouts/cmd/rollouts-controller",
        )],
        crds: Some(Crds {
            of: "github.com/argoproj/argo-rollouts",
            files: &[
                "manifests/crds/rollout-crd.yaml",
                "manifests/crds/experiment-crd.yaml",
                "manifests/crds/analysis-run-crd.yaml",
                "manifests/crds/analysis-template-crd.yaml",
                "manifests/crds/cluster-analysis-template-crd.yaml",
            ],
        }),
    },
];
