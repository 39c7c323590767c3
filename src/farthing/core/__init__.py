"""Request, response, money, errors and the contracts; standard library only."""
