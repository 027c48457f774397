//! Comparisons with rivals: what does mesh cost, beside what else there is?

fn main() {}
