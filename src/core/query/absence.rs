//! What it means that a query has no result. Reads its tree; nothing here asks Prometheus.

use promql_parser::parser::{AggregateExpr, BinaryExpr, Call, Expr, token};

/// Whether the value is a measure of what happened, as a quantile or a mean is: where there is nothing, it is not 0. Of a comparison
/// that lets nothing pass, nothing is known either, but that nothing is beyond it.
pub(super) fn is_a_measure(expr: &Expr) -> bool {
    match expr {
        Expr::Unary(unary) => is_a_measure(&unary.expr),
        Expr::Paren(paren) => is_a_measure(&paren.expr),
        Expr::Subquery(subquery) => is_a_measure(&subquery.expr),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate),
        Expr::Binary(binary) => of_binary(binary),
        Expr::Call(call) => of_call(call),
        Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::Extension(_) => false,
    }
}

fn of_call(call: &Call) -> bool {
    let of_arguments = || call.args.args.iter().any(|argument| is_a_measure(argument));
    match call.func.name {
        "histogram_quantile"
        | "histogram_quantiles"
        | "histogram_avg"
        | "histogram_fraction"
        | "histogram_stddev"
        | "histogram_stdvar" => true,
        // Of a gauge. The largest, or the last, of one that is there in a bad state only (`ALERTS`) is 0 without it.
        "quantile_over_time" | "avg_over_time" | "min_over_time" => {
            call.args.args.iter().any(|argument| is_of_gauge(argument)) || of_arguments()
        }
        // These answer where there is nothing, or count.
        "absent" | "absent_over_time" | "count_over_time" | "present_over_time" => false,
        _ => of_arguments(),
    }
}

/// Whether samples are those of a series as it is; another expression in a subquery may as well count.
fn is_of_gauge(range: &Expr) -> bool {
    match range {
        Expr::Paren(paren) => is_of_gauge(&paren.expr),
        Expr::MatrixSelector(_) => true,
        Expr::Subquery(subquery) => matches!(*subquery.expr, Expr::VectorSelector(_)),
        _ => false,
    }
}

fn of_aggregate(aggregate: &AggregateExpr) -> bool {
    let counts = matches!(
        aggregate.op.id(),
        token::T_COUNT | token::T_COUNT_VALUES | token::T_GROUP
    );
    !counts && is_a_measure(&aggregate.expr)
}

fn of_binary(binary: &BinaryExpr) -> bool {
    let of_either = || is_a_measure(&binary.lhs) || is_a_measure(&binary.rhs);
    match binary.op.id() {
        // As a number a comparison lets everything pass.
        _ if binary.return_bool() => of_either(),
        token::T_ADD | token::T_SUB | token::T_MUL | token::T_DIV | token::T_MOD | token::T_POW => {
            of_either()
        }
        token::T_LAND | token::T_LUNLESS => is_a_measure(&binary.lhs),
        // It has a result where either has.
        token::T_LOR => is_a_measure(&binary.rhs),
        _ => false,
    }
}
