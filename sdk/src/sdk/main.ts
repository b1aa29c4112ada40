import { takeHost } from './host'

takeHost()
