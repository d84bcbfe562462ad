mod file;
mod graph;
mod limits;
mod networks;
mod oracle;
mod refused;
mod runs;
