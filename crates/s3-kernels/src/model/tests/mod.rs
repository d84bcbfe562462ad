mod file;
mod networks;
mod oracle;
mod refused;
mod runs;
