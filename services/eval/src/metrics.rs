//! How like the text that a user wrote a generated one is: the metrics of the paper's table, equal to
//! their reference implementations, and [`attribution`], which asks whose text it looks like.

pub mod attribution;
pub mod bleu;
pub mod meteor;
pub mod rouge;
mod words;
