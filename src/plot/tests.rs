use super::page::{Page, Part};
use super::*;

fn steps() -> Lines {
    Lines {
        x: Axis {
            label: "minutes".to_owned(),
            range: Some((0.0, 10.0)),
            ..Axis::default()
        },
        y: Axis {
            label: "weight".to_owned(),
            unit: Unit::Percent,
            range: Some((0.0, 1.0)),
            ..Axis::default()
        },
        series: vec![
            Series {
                name: "v2".to_owned(),
                shape: Shape::Step,
                colour: 0,
                faint: false,
                points: vec![(0.0, 0.05), (4.0, 0.5), (10.0, 0.5)],
            },
            Series {
                name: "v3".to_owned(),
                shape: Shape::Line,
                colour: 1,
                faint: false,
                points: vec![(0.0, 0.0), (f64::NAN, 0.3), (5.0, 0.3), (10.0, 7.0)],
            },
        ],
        moments: vec![Moment {
            at: 4.0,
            label: "50 %".to_owned(),
        }],
        levels: vec![Level {
            at: 0.4,
            label: "limit".to_owned(),
        }],
        height: 100.0,
    }
}

fn figure(chart: Chart) -> Figure {
    Figure {
        title: "A & B".to_owned(),
        subtitle: "with <3".to_owned(),
        charts: vec![chart],
    }
}

#[test]
fn a_chart_of_lines_and_steps() {
    insta::assert_snapshot!(figure(Chart::Lines(steps())).svg());
}

#[test]
fn a_chart_with_a_logarithmic_axis() {
    let mut lines = steps();
    lines.y = Axis {
        label: "evidence".to_owned(),
        scale: Scale::Log,
        unit: Unit::Plain,
        range: Some((1e-3, 1e6)),
    };
    lines.levels.clear();
    insta::assert_snapshot!(figure(Chart::Lines(lines)).svg());
}

#[test]
fn a_chart_of_bars() {
    let bar = |name: &str, value: f64| Bar {
        name: name.to_owned(),
        value,
        interval: Some((value * 0.9, value * 1.2)),
        text: format!("{value}"),
        colour: 2,
    };
    let bars = Bars {
        axis: Axis {
            label: "errors".to_owned(),
            ..Axis::default()
        },
        bars: vec![bar("0.1 % bad", 40.0), bar("2 % bad", 7.0), bar("none", 0.0)],
    };
    insta::assert_snapshot!(figure(Chart::Bars(bars)).svg());
}

#[test]
fn a_page_shows_markup_and_does_not_obey_it() {
    let evil = "</pre><script>alert('&')</script>";
    let page = Page {
        title: evil.to_owned(),
        parts: vec![
            Part::Heading(evil.to_owned()),
            Part::Text(evil.to_owned()),
            Part::Code(format!("{evil}\n  {evil}")),
            Part::Table {
                head: vec![evil.to_owned()],
                rows: vec![vec![evil.to_owned()]],
            },
            Part::Figure(Figure {
                title: evil.to_owned(),
                subtitle: evil.to_owned(),
                charts: vec![Chart::Bars(Bars {
                    axis: Axis {
                        label: evil.to_owned(),
                        ..Axis::default()
                    },
                    bars: vec![Bar {
                        name: evil.to_owned(),
                        text: evil.to_owned(),
                        ..Bar::default()
                    }],
                })],
            }),
        ],
    };
    let html = page.html();
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(
        html.matches("&lt;script&gt;").count(),
        15,
        "all of it is shown\n{html}"
    );
    assert_eq!(html.matches("<pre>").count(), html.matches("</pre>").count());
    assert!(
        !html.contains("http:")
            || html.matches("http://www.w3.org/2000/svg").count() == html.matches("http:").count()
    );
}

#[test]
fn what_is_no_number_reaches_no_picture() {
    let odd = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        -0.0,
        0.0,
        1e-300,
    ];
    for scale in [Scale::Linear, Scale::Log] {
        for low in odd {
            for high in odd {
                let mut lines = steps();
                lines.height = low;
                lines.x.scale = scale;
                lines.y.scale = scale;
                lines.y.range = None;
                lines.x.range = Some((low, high));
                lines.levels = vec![Level {
                    at: low,
                    label: String::new(),
                }];
                if let Some(series) = lines.series.first_mut() {
                    series.points = vec![(low, high), (high, low), (0.0, low)];
                }
                let text = figure(Chart::Lines(lines)).svg();
                assert!(
                    !text.contains("NaN") && !text.contains("inf\""),
                    "{low} {high}\n{text}"
                );
            }
        }
    }
    assert!(figure(Chart::Lines(Lines::default())).svg().ends_with("</svg>\n"));
    assert!(figure(Chart::Bars(Bars::default())).svg().ends_with("</svg>\n"));
}

#[test]
fn numbers_at_an_axis_are_round_and_few() {
    let texts = |low, high, scale, unit| -> Vec<String> {
        let axis = Axis {
            scale,
            unit,
            range: Some((low, high)),
            ..Axis::default()
        };
        let ticks = axis.ruler(std::iter::empty()).ticks();
        ticks.into_iter().map(|(_, text)| text).collect()
    };
    assert_eq!(
        texts(0.0, 1.0, Scale::Linear, Unit::Percent),
        ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    );
    assert_eq!(
        texts(0.001, 0.2, Scale::Log, Unit::Percent),
        ["0.1 %", "1 %", "10 %"]
    );
    assert_eq!(
        texts(0.01, 0.5, Scale::Log, Unit::Percent),
        ["1 %", "2 %", "5 %", "10 %", "20 %", "50 %"]
    );
    assert_eq!(
        texts(1e-3, 1e6, Scale::Log, Unit::Plain),
        ["0.01", "1", "100", "10000", "10⁶"]
    );
    for high in [0.3, 7.0, 12.5, 99.0, 1234.0, 1e9] {
        let count = texts(0.0, high, Scale::Linear, Unit::Plain).len();
        assert!((3..=8).contains(&count), "{high}: {count}");
    }
}
