"""What finished runs say: accuracy, speed, intervals and where accuracy was lost."""
