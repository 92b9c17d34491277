//! What attempts mean: the fault lab row by row, and what narrows a cause.

#[path = "../hello/captured.rs"]
#[allow(dead_code)]
mod captured;
#[path = "../net/folder.rs"]
#[allow(dead_code)]
mod folder;
#[path = "../net/lab.rs"]
#[allow(dead_code)]
mod lab;
mod narrowing;
mod rows;
mod scene;
