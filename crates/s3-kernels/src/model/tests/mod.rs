mod file;
mod limits;
mod networks;
mod oracle;
mod refused;
mod runs;
