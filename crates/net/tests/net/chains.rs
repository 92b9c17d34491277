//! Chains from PEM files: what is served, and what is refused with which words.
