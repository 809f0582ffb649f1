//! What it takes to read a query, found out before it is read and with the parser's own lexer: whoever writes a spec must not be able
//! to fill the stack or the memory of the operator. Nothing here says what a query means.

use lrpar::{Lexeme as _, Lexer as _, NonStreamingLexer as _};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::lexer;
use promql_parser::parser::token::{
    T_EQL_REGEX, T_LEFT_BRACKET, T_LEFT_PAREN, T_NEQ_REGEX, T_STRING, TokenId, TokenType,
};
use promql_parser::util::unquote_string;
use regex_automata::dfa::onepass::DFA;
use regex_automata::nfa::thompson::{NFA, WhichCaptures};

use super::{MAX_QUERY_CHARS, QueryError, guarded};

/// The most operators, brackets and calls that a query may have: parser and walk recurse over them, and a stack
/// is finite.
pub(super) const MAX_NODES: usize = 1_000;

/// What the regular expressions of a query may take together, in bytes: the parser keeps each of them compiled, and fourteen characters
/// can make megabytes.
const MAX_REGEX_BYTES: usize = 2 << 20;

/// What a compiled expression takes besides its automata, in bytes; rather too much.
const BESIDES: usize = 8 << 10;

/// The largest automaton that the regex crate makes to find groups faster, in bytes.
const MAX_ONEPASS: usize = 1 << 20;

/// Refuses what is too large to be read.
///
/// # Errors
/// Too long, too deep, or regular expressions that are too large.
pub(super) fn check(promql: &str) -> Result<(), QueryError> {
    let chars = promql.chars().count();
    if chars > MAX_QUERY_CHARS {
        return Err(QueryError::TooLong(chars));
    }
    // What cannot be cut into words is read no further: the parser says why.
    guarded(|| words(promql))
        .flatten()
        .map_or(Ok(()), |words| check_words(&words))
}

/// A word of a query as the parser sees it.
struct Word {
    is: TokenId,
    /// Its text, where it is in quotes: with them.
    text: String,
}

fn words(promql: &str) -> Option<Vec<Word>> {
    let lexer = lexer(promql).ok()?;
    let words = lexer.iter().filter_map(Result::ok).map(|word| Word {
        is: word.tok_id(),
        text: match word.tok_id() {
            T_STRING => lexer.span_str(word.span()).to_owned(),
            _ => String::new(),
        },
    });
    Some(words.collect())
}

fn check_words(words: &[Word]) -> Result<(), QueryError> {
    // An upper bound of the depth of the tree: every word that can open a node.
    let nodes = words.iter().filter(|word| opens(word.is)).count();
    if nodes > MAX_NODES {
        return Err(QueryError::TooComplex(nodes));
    }
    let mut left = MAX_REGEX_BYTES;
    for pair in words.windows(2) {
        let [operator, pattern] = pair else { continue };
        if !matches!(operator.is, T_EQL_REGEX | T_NEQ_REGEX) || pattern.is != T_STRING {
            continue;
        }
        let Ok(pattern) = unquote_string(&pattern.text) else {
            continue;
        };
        left = takes(&pattern, left)
            .and_then(|bytes| left.checked_sub(bytes))
            .ok_or(QueryError::RegexTooLarge)?;
    }
    Ok(())
}

fn opens(word: TokenId) -> bool {
    matches!(word, T_LEFT_PAREN | T_LEFT_BRACKET) || TokenType::new(word).is_operator()
}

/// What a regular expression will take, in bytes; none where that is more than `most`. What is none takes nothing.
fn takes(pattern: &str, most: usize) -> Option<usize> {
    match compiled(&format!("^(?:{pattern})$"), most) {
        Compiled::Takes(bytes) => Some(bytes),
        Compiled::TooLarge => None,
        // Braces that stand for themselves: the parser writes these in another way.
        Compiled::Unreadable => match Matcher::new_matcher(T_EQL_REGEX, String::new(), pattern.to_owned()) {
            Ok(Matcher {
                op: MatchOp::Re(written),
                ..
            }) => match compiled(written.as_str(), most) {
                Compiled::Takes(bytes) => Some(bytes),
                Compiled::TooLarge | Compiled::Unreadable => None,
            },
            _ => Some(0),
        },
    }
}

enum Compiled {
    Takes(usize),
    TooLarge,
    Unreadable,
}

/// Compiles as the regex crate does: one automaton for each direction, and a third where there are groups.
fn compiled(pattern: &str, most: usize) -> Compiled {
    let (forward, backward) = match (automaton(pattern, false, most), automaton(pattern, true, most)) {
        (Ok(forward), Ok(backward)) => (forward, backward),
        (Err(other), _) | (_, Err(other)) => return other,
    };
    let has_groups =
        forward.group_info().explicit_slot_len() > 0 || forward.look_set_any().contains_word_unicode();
    let groups = if has_groups { of_groups(&forward) } else { 0 };
    Compiled::Takes(BESIDES + forward.memory_usage() + backward.memory_usage() + groups)
}

fn automaton(pattern: &str, reverse: bool, most: usize) -> Result<NFA, Compiled> {
    let captures = if reverse {
        WhichCaptures::None
    } else {
        WhichCaptures::All
    };
    let limits = NFA::config()
        .nfa_size_limit(Some(most))
        .reverse(reverse)
        .which_captures(captures);
    let built = NFA::compiler().configure(limits).build(pattern);
    built.map_err(|why| match why.size_limit() {
        Some(_) => Compiled::TooLarge,
        None => Compiled::Unreadable,
    })
}

/// What finding groups faster takes, in bytes; 0 where that cannot be made.
fn of_groups(forward: &NFA) -> usize {
    let limits = DFA::config()
        .starts_for_each_pattern(true)
        .size_limit(Some(MAX_ONEPASS));
    let built = DFA::builder().configure(limits).build_from_nfa(forward.clone());
    built.map_or(0, |made| made.memory_usage())
}
