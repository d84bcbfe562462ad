//! Weight dynamics (WSVR, WLVR), accuracy, cost counts and run records: functions of plain slices.
