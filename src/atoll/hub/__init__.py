"""The server: keeps runs, hands out jobs, passes messages on. Runs no algorithm, reads no body."""
