"""The signals on which the service stops."""

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP, by which a terminal is closed; not where that is ignored, as under nohup."""
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return signal.SIGTERM, signal.SIGINT, *hangup


def kills(number: int) -> bool:
    """Whether the signal ends at once what is stopping already. SIGHUP comes from the shell, and from the system."""
    return number != signal.SIGHUP
