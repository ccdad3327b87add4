"Which flights from New York will arrive late: the functions that the project's notebooks export."

__version__ = "0.1.0"
