//! What comes after an image is published, against the stand-in for AWS.

mod inventory;
mod lab;
mod parameter;
mod promote;
mod regions;
mod remove;
mod schedules;
mod swap;
mod verify;
