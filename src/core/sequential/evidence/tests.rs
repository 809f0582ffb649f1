use proptest::prelude::*;

use super::*;

fn design() -> Design {
    Design::new(1.5, 0.01, 1.0, 4).unwrap()
}

const fn stratum(n_c: f64, n_p: f64, x_c: f64, x_p: f64) -> Stratum {
    let (canary, production) = (
        Counts {
            requests: n_c,
            bad: x_c,
        },
        Counts {
            requests: n_p,
            bad: x_p,
        },
    );
    Stratum { canary, production }
}

fn after(design: &Design, checks: &[(usize, Vec<Stratum>)]) -> Evidence {
    let mut evidence = Evidence::default();
    for (step, strata) in checks {
        evidence.add(design, *step, strata).unwrap();
    }
    evidence
}

fn log_after(design: &Design, checks: &[(usize, Vec<Stratum>)]) -> f64 {
    after(design, checks).log(design).unwrap()
}

#[test]
fn nothing_seen_is_evidence_one() {
    assert!(Evidence::default().log(&design()).unwrap().abs() < 1e-15);
    for strata in [
        vec![],
        vec![stratum(0.0, 100.0, 0.0, 9.0)],
        vec![stratum(100.0, 0.0, 9.0, 0.0)],
    ] {
        let mut evidence = Evidence::default();
        assert_eq!(evidence.add(&design(), 2, &strata), Ok(false));
        assert!(evidence.log(&design()).unwrap().abs() < 1e-15);
        assert!(evidence.components.is_empty());
    }
}

#[test]
fn what_is_no_count_leaves_everything_as_it_was() {
    let mut evidence = after(&design(), &[(0, vec![stratum(75.0, 1425.0, 2.0, 1.0)])]);
    let before = evidence.clone();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
        for at in 0..4 {
            let mut counts = [75.0, 1425.0, 2.0, 1.0];
            counts[at] = bad;
            let [n_c, n_p, x_c, x_p] = counts;
            let strata = [stratum(75.0, 1425.0, 9.0, 0.0), stratum(n_c, n_p, x_c, x_p)];
            assert!(evidence.add(&design(), 1, &strata).is_err(), "{counts:?}");
            assert_eq!(evidence, before);
        }
    }
    assert!(
        evidence
            .add(&design(), 0, &[stratum(1.0, 1.0, 2.0, 0.0)])
            .is_err()
    );
    let baseline = Recorded {
        counts: Counts::default(),
    };
    let one = Counts {
        requests: 1.0,
        bad: 1.0,
    };
    assert_eq!(
        evidence.add_against(&design(), 0, &baseline, one),
        Err(EvidenceError::Baseline)
    );
    assert_eq!(evidence, before);
}

#[test]
fn huge_counts_stay_finite_and_can_be_written_down() {
    let most = super::super::counts::MAX_COUNT;
    let mut evidence = Evidence::default();
    for _ in 0..1000 {
        evidence
            .add(
                &design(),
                3,
                &[stratum(most, most, most, 0.0), stratum(1.0, most, 1.0, most)],
            )
            .unwrap();
    }
    assert!(evidence.log(&design()).unwrap().is_finite());
    let written = serde_json::to_string(&evidence).unwrap();
    assert_eq!(serde_json::from_str::<Evidence>(&written).unwrap(), evidence);
}

#[test]
fn steps_added_later_get_no_component_and_skipped_ones_start_together() {
    let check = || vec![stratum(75.0, 1425.0, 3.0, 0.0)];
    let one = Design::new(1.5, 0.01, 1.0, 1).unwrap();
    assert_eq!(
        after(&one, &[(0, check()), (5, check()), (usize::MAX, check())])
            .components
            .len(),
        1
    );
    let skipped = after(&design(), &[(0, check()), (3, check())]);
    assert_eq!(skipped.components.len(), 4);
    assert_eq!(skipped.components[1], skipped.components[3]);
    assert_ne!(skipped.components[0], skipped.components[1]);
}

#[test]
fn a_later_step_forgets_what_an_earlier_one_did_not_show() {
    // An hour of nothing at a small weight, then a fault: the first component is held back by the quiet hour, the
    // second is not.
    let quiet = (0, vec![stratum(5_000.0, 95_000.0, 0.0, 95.0)]);
    let fault = (1, vec![stratum(500.0, 500.0, 10.0, 0.5)]);
    let four = log_after(&design(), &[quiet.clone(), fault.clone()]);
    let one = log_after(&Design::new(1.5, 0.01, 1.0, 1).unwrap(), &[quiet, fault]);
    assert!(four > one + 2.0, "{four} {one}");
}

#[test]
fn recorded_evidence_of_another_design_is_refused() {
    let evidence = after(&design(), &[(1, vec![stratum(75.0, 1425.0, 2.0, 1.0)])]);
    let smaller = Design::new(1.5, 0.01, 1.0, 1).unwrap();
    assert_eq!(evidence.log(&smaller), Err(EvidenceError::Misfit));
    assert_eq!(evidence.clone().add(&smaller, 0, &[]), Err(EvidenceError::Misfit));
    for forged in [
        r#"{"components":[[1.0]]}"#,
        r#"{"components":[[],[],[],[],[],[]]}"#,
    ] {
        let forged: Evidence = serde_json::from_str(forged).unwrap();
        assert_eq!(forged.log(&design()), Err(EvidenceError::Misfit));
    }
    let odd = Evidence {
        components: vec![vec![f64::NAN; 10]],
        ..Evidence::default()
    };
    assert_eq!(odd.log(&design()), Err(EvidenceError::Misfit));
}

#[test]
fn it_stays_small_and_comes_back_to_the_last_bit() {
    let checks: Vec<_> = (0..400_u32)
        .map(|k| {
            (
                k as usize / 100,
                vec![stratum(
                    75.0 + f64::from(k),
                    1425.0,
                    f64::from(k % 3),
                    f64::from(k % 5),
                )],
            )
        })
        .collect();
    let evidence = after(&design(), &checks);
    let written = serde_json::to_string(&evidence).unwrap();
    assert!(written.len() < 1000, "{} bytes: {written}", written.len());
    let read: Evidence = serde_json::from_str(&written).unwrap();
    assert_eq!(read, evidence);
    assert_eq!(
        read.log(&design()).unwrap().to_bits(),
        evidence.log(&design()).unwrap().to_bits()
    );
    assert!(written.contains(r#""canary":{"requests":"#), "{written}");
}

#[test]
fn against_a_recorded_baseline_only_its_limit_matters() {
    let design = Design::new(1.5, 0.01, 1.0, 1).unwrap();
    let baseline = Recorded {
        counts: Counts {
            requests: 6000.0,
            bad: 6.0,
        },
    };
    let mut evidence = Evidence::default();
    let canary = Counts {
        requests: 1000.0,
        bad: 12.0,
    };
    assert_eq!(evidence.add_against(&design, 0, &baseline, canary), Ok(true));
    let upper = 0.002_609_945_801_882_94;
    for (log, m) in evidence.components[0]
        .iter()
        .zip(super::super::design::MULTIPLIERS)
    {
        let expected = 12.0 * m.ln() - (m - 1.0) * 1.5 * upper * 1000.0;
        assert!(
            (log - expected).abs() < 1e-9 * expected.abs().max(1.0),
            "{m}: {log} {expected}"
        );
    }
    let nothing = Counts::default();
    assert_eq!(
        evidence.clone().add_against(&design, 0, &baseline, nothing),
        Ok(false)
    );
}

#[test]
fn metrics_share_one_budget() {
    assert!((together(&[(0.5, 2.0_f64.ln()), (0.5, 4.0_f64.ln())]).unwrap() - 3.0_f64.ln()).abs() < 1e-12);
    assert!(
        (together(&[(1.0, 7.0), (0.0, 900.0)]).unwrap() - 7.0).abs() < 1e-12,
        "joined later"
    );
    assert!((together(&[(0.5, 2000.0), (0.5, 0.0)]).unwrap() - (2000.0 - 2.0_f64.ln())).abs() < 1e-9);
    for shares in [
        &[][..],
        &[(0.7, 0.0)],
        &[(1.5, 0.0), (-0.5, 0.0)],
        &[(f64::NAN, 0.0)],
    ] {
        assert_eq!(together(shares), Err(EvidenceError::Shares));
    }
    assert_eq!(together(&[(1.0, f64::NAN)]), Err(EvidenceError::Misfit));
}

/// The expectation of one interval's factor, exactly, for binomial bad requests: the supermartingale itself.
#[test]
fn at_the_boundary_of_the_null_no_component_grows_in_expectation() {
    for (n_c, n_p, p_p) in [(3_u32, 12_u32, 0.1), (8, 8, 0.3), (1, 20, 0.02), (10, 2, 0.6)] {
        let design = design();
        for m in super::super::design::MULTIPLIERS {
            let mut mean = 0.0;
            for x_c in 0..=n_c {
                for x_p in 0..=n_p {
                    let chance = binomial(n_c, x_c, 1.5 * p_p) * binomial(n_p, x_p, p_p);
                    let seen = stratum(n_c.into(), n_p.into(), x_c.into(), x_p.into());
                    mean += chance * growth(design.parts(), m, &seen).exp();
                }
            }
            assert!(mean <= 1.0 + 1e-12, "{n_c} {n_p} {p_p} {m}: {mean}");
            assert!(mean > 0.0);
        }
    }
}

#[test]
fn a_share_nobody_cares_about_is_within_bounds_whatever_production_does() {
    for (n_c, n_p, p_p, share) in [(5_u32, 12_u32, 0.0, 0.2), (8, 8, 0.05, 0.3), (3, 20, 0.1, 0.05)] {
        let design = design().at_least(Some(share)).unwrap();
        let p_c = (1.5_f64 * p_p).max(share);
        for m in super::super::design::MULTIPLIERS {
            let mut mean = 0.0;
            for x_c in 0..=n_c {
                for x_p in 0..=n_p {
                    let chance = binomial(n_c, x_c, p_c) * binomial(n_p, x_p, p_p);
                    let seen = stratum(n_c.into(), n_p.into(), x_c.into(), x_p.into());
                    mean += chance * growth(design.parts(), m, &seen).exp();
                }
            }
            assert!(mean <= 1.0 + 1e-12, "{n_c} {n_p} {p_p} {share} {m}: {mean}");
        }
    }
    // Ten times production's share, and below what anybody cares about; above it the evidence is there.
    let many = [(0, vec![stratum(1000.0, 9000.0, 10.0, 9.0)])];
    let caring = |share| log_after(&design().at_least(Some(share)).unwrap(), &many);
    assert!(caring(0.02) < 0.0 && caring(0.001) > 4.6);
    assert!(caring(0.001) <= log_after(&design(), &many));
}

#[test]
fn what_has_begun_goes_on_when_an_edit_lowers_the_number_of_the_step() {
    let bad = vec![stratum(100.0, 900.0, 5.0, 1.0)];
    let grown = |steps: [usize; 2]| log_after(&design(), &steps.map(|step| (step, bad.clone())));
    assert_eq!(grown([1, 0]).to_bits(), grown([1, 1]).to_bits());
    assert!(grown([1, 0]) > grown([0, 0]) - 1.0);
}

fn binomial(n: u32, k: u32, p: f64) -> f64 {
    let ways: f64 = (0..k).map(|i| f64::from(n - i) / f64::from(k - i)).product();
    ways * p.powi(k.cast_signed()) * (1.0 - p).powi((n - k).cast_signed())
}

fn counts() -> impl Strategy<Value = (u32, u32, u32, u32)> {
    (0_u32..2000, 0_u32..20_000).prop_flat_map(|(n_c, n_p)| (Just(n_c), Just(n_p), 0..=n_c, 0..=n_p))
}

fn of((n_c, n_p, x_c, x_p): (u32, u32, u32, u32)) -> Stratum {
    stratum(n_c.into(), n_p.into(), x_c.into(), x_p.into())
}

fn history() -> impl Strategy<Value = Vec<(usize, Vec<Stratum>)>> {
    let check = proptest::collection::vec(counts().prop_map(of), 1..3);
    proptest::collection::vec((0_usize..5, check), 1..8).prop_map(|mut checks| {
        checks.sort_by_key(|(step, _)| *step);
        checks
    })
}

fn tests() -> impl Strategy<Value = Design> {
    (plain(), proptest::option::of(0.0_f64..1.0)).prop_map(|(design, share)| design.at_least(share).unwrap())
}

/// Without a share that nobody cares about, whose lesser evidence goes interval by interval.
fn plain() -> impl Strategy<Value = Design> {
    (0.5_f64..4.0, 1.0_f64..8.0, 1_usize..6)
        .prop_map(|(r, phi, steps)| Design::new(r, 0.01, phi, steps).unwrap())
}

/// `log` with one stratum changed.
fn changed(
    design: &Design,
    checks: &[(usize, Vec<Stratum>)],
    at: usize,
    change: impl Fn(&mut Stratum),
) -> f64 {
    let mut checks = checks.to_vec();
    let at = at % checks.len();
    change(&mut checks[at].1[0]);
    log_after(design, &checks)
}

fn slack(log: f64) -> f64 {
    1e-9 * log.abs().max(1.0)
}

proptest! {
    #[test]
    fn a_good_canary_request_turned_bad_never_lowers_it(design in tests(), checks in history(), at in 0_usize..8) {
        let before = log_after(&design, &checks);
        let after = changed(&design, &checks, at, |s| s.canary.bad = (s.canary.bad + 1.0).min(s.canary.requests));
        prop_assert!(after >= before - slack(before), "{before} {after}");
    }

    #[test]
    fn a_good_canary_request_more_never_raises_it(design in tests(), checks in history(), at in 0_usize..8) {
        let before = log_after(&design, &checks);
        let after = changed(&design, &checks, at, |s| s.canary.requests += 1.0);
        prop_assert!(after <= before + slack(before), "{before} {after}");
    }

    #[test]
    fn a_good_production_request_turned_bad_never_raises_it(design in tests(), checks in history(), at in 0_usize..8) {
        let before = log_after(&design, &checks);
        let after =
            changed(&design, &checks, at, |s| s.production.bad = (s.production.bad + 1.0).min(s.production.requests));
        prop_assert!(after <= before + slack(before), "{before} {after}");
    }

    #[test]
    fn a_good_production_request_more_never_lowers_it(design in tests(), checks in history(), at in 0_usize..8) {
        let before = log_after(&design, &checks);
        // Its first one at all makes an interval that is compared of one that was not.
        let more = |s: &mut Stratum| s.production.requests += f64::from(s.production.requests > 0.0);
        let after = changed(&design, &checks, at, more);
        prop_assert!(after >= before - slack(before), "{before} {after}");
    }

    #[test]
    fn cutting_an_interval_at_the_same_ratio_changes_nothing(
        design in plain(), checks in history(), step in 0_usize..5, (canary, production) in (1_u32..50, 1_u32..900),
        (first, second) in (1_u32..40, 1_u32..40), bad in proptest::array::uniform4(0.0_f64..=1.0),
    ) {
        let part = |size: u32, x_c: f64, x_p: f64| {
            let (n_c, n_p) = (f64::from(canary * size), f64::from(production * size));
            stratum(n_c, n_p, (x_c * n_c).floor(), (x_p * n_p).floor())
        };
        let (one, two) = (part(first, bad[0], bad[1]), part(second, bad[2], bad[3]));
        let whole = Stratum {
            canary: one.canary.plus(two.canary),
            production: one.production.plus(two.production),
        };
        let with = |more: Vec<Stratum>| {
            let mut checks = checks.clone();
            checks.extend(more.into_iter().map(|s| (step, vec![s])));
            after(&design, &checks)
        };
        let (uncut, cut) = (with(vec![whole]), with(vec![one, two]));
        let (log, log_cut) = (uncut.log(&design).unwrap(), cut.log(&design).unwrap());
        prop_assert!((log - log_cut).abs() <= slack(log), "{log} {log_cut}");
        prop_assert_eq!((uncut.canary, uncut.production), (cut.canary, cut.production));
    }

    #[test]
    fn the_order_of_strata_and_of_checks_within_a_step_does_not_matter(design in tests(), checks in history()) {
        let before = log_after(&design, &checks);
        let mut turned = checks.clone();
        for (_, strata) in &mut turned {
            strata.reverse();
        }
        turned.reverse();
        turned.sort_by_key(|(step, _)| *step);
        let after = log_after(&design, &turned);
        prop_assert!((after - before).abs() <= slack(before), "{before} {after}");
    }

    #[test]
    fn no_float_whatever_panics_or_is_silently_taken(
        design in tests(), step in any::<usize>(),
        (n_c, n_p, x_c, x_p) in (any::<f64>(), any::<f64>(), any::<f64>(), any::<f64>()),
    ) {
        let strata = [stratum(n_c, n_p, x_c, x_p)];
        let mut evidence = Evidence::default();
        let taken = evidence.add(&design, step, &strata);
        prop_assert_eq!(taken.is_ok(), strata[0].checked().is_ok());
        prop_assert!(evidence.log(&design).unwrap().is_finite());
    }
}

/// Where the intuition ends: one bad request *more* (not one turned bad) also says that the canary has more traffic, and
/// that share of everything else that went wrong.
#[test]
fn a_bad_canary_request_more_may_lower_it_when_nearly_everything_fails() {
    let usual = |n_c, x_c| log_after(&design(), &[(0, vec![stratum(n_c, 1000.0, x_c, 1.0)])]);
    assert!(usual(51.0, 2.0) > usual(50.0, 1.0));
    let outage = |n_c, x_c| log_after(&design(), &[(0, vec![stratum(n_c, 1000.0, x_c, 1000.0)])]);
    assert!(outage(2.0, 2.0) < outage(1.0, 1.0));
}

/// Simpson's paradox: the reason for cutting intervals where the weight moves.
#[test]
fn an_interval_across_a_weight_change_can_accuse_a_healthy_canary() {
    // Both versions: 0.1 % bad at 5 % weight, then 10 % bad at 50 %.
    let (before, after) = (
        stratum(500.0, 9500.0, 0.5, 9.5),
        stratum(5000.0, 5000.0, 500.0, 500.0),
    );
    let apart = log_after(&design(), &[(0, vec![before]), (0, vec![after])]);
    let pooled = log_after(&design(), &[(0, vec![stratum(5500.0, 14_500.0, 500.5, 509.5)])]);
    assert!(apart < 0.0, "{apart}");
    assert!(pooled > design().log_limit(), "{pooled}");
}
