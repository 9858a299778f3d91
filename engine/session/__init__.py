"""One worker process: started, spoken to, listened to, ended; whose turn it is."""
