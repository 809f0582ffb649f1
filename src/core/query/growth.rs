//! Whether a query's value rises with traffic. A heuristic for a warning: no decision rests on it.

use promql_parser::parser::{AggregateExpr, BinaryExpr, Call, Expr, token};

/// Whether the value is a rate or count of events that nothing divides.
pub(super) fn grows_with_traffic(expr: &Expr) -> bool {
    match expr {
        Expr::VectorSelector(selector) => selector.name.as_deref().is_some_and(is_counter),
        Expr::MatrixSelector(matrix) => matrix.vs.name.as_deref().is_some_and(is_counter),
        Expr::Unary(unary) => grows_with_traffic(&unary.expr),
        Expr::Paren(paren) => grows_with_traffic(&paren.expr),
        Expr::Subquery(subquery) => grows_with_traffic(&subquery.expr),
        Expr::Aggregate(aggregate) => aggregate_grows(aggregate),
        Expr::Binary(binary) => binary_grows(binary),
        Expr::Call(call) => call_grows(call),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => false,
    }
}

/// By the names that Prometheus clients give to counters.
fn is_counter(name: &str) -> bool {
    ["_total", "_count", "_sum", "_bucket"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

fn aggregate_grows(aggregate: &AggregateExpr) -> bool {
    // These count series, not events.
    let counts_series = matches!(
        aggregate.op.id(),
        token::T_COUNT | token::T_COUNT_VALUES | token::T_GROUP
    );
    !counts_series && grows_with_traffic(&aggregate.expr)
}

fn binary_grows(binary: &BinaryExpr) -> bool {
    let left = || grows_with_traffic(&binary.lhs);
    let right = || grows_with_traffic(&binary.rhs);
    match binary.op.id() {
        token::T_DIV => left() && !right(),
        token::T_ADD | token::T_SUB | token::T_MUL | token::T_LOR => left() || right(),
        _ => !binary.return_bool() && left(),
    }
}

fn call_grows(call: &Call) -> bool {
    match call.func.name {
        // Only counters have rates.
        "rate" | "irate" | "increase" | "resets" => true,
        "changes"
        | "absent"
        | "absent_over_time"
        | "count_over_time"
        | "present_over_time"
        | "timestamp"
        | "histogram_quantile"
        | "histogram_quantiles"
        | "histogram_avg"
        | "histogram_fraction"
        | "histogram_stddev"
        | "histogram_stdvar" => false,
        _ => call.args.args.iter().any(|argument| grows_with_traffic(argument)),
    }
}
