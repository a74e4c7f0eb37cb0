//! Prompts: versioned files, neutralised user text, and trimming to a token budget.
