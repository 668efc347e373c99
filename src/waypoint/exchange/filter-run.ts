/**
 * One request's way through its filters. Filters are called one after the other without a pause, unless one returns a promise: then the
 * request is suspended until the promise is settled.
 */
import { errorText } from '../../base/errors.js';
import type { FilterList } from '../filters/chain.js';
import type { Filter, FilteredRequest, FilterResponse, FilterResult } from '../filters/filter.js';
import type { ResponseHead } from '../http/http-stream.js';
import { filterFailed, type LocalReply } from '../http/local-reply.js';

export interface FilteredExchange extends FilteredRequest {
  /** All filters of the list have let the request go on. */
  onPassed(list: FilterList): void;
  onFilterResponse(response: FilterResponse): void;
  /** A filter's promise is pending. */
  onSuspended(): void;
}

export class FilterRun {
  #list: FilterList | undefined;
  /** The number of filters of the list that have let the request go on. */
  #passed = 0;
  #pending: Filter | undefined;
  /** A filter failed at the response. */
  #hasFailed = false;

  constructor(private readonly exchange: FilteredExchange) {}

  /** Calls the filters of the next list: the last list is its outer one. */
  enter(list: FilterList): void {
    this.#list = list;
    this.#passed = 0;
    this.#advance(list);
  }

  #advance(list: FilterList): void {
    const { exchange } = this;
    const filters = list.request;
    while (this.#passed < filters.length) {
      const filter = filters[this.#passed] as (typeof filters)[number];
      let result: FilterResult;
      try {
        result = filter.onRequest(exchange);
      } catch (error) {
        return exchange.onFilterResponse(failure(error));
      }
      if (result instanceof Promise) return this.#suspend(list, filter, result);
      if (result !== undefined) return exchange.onFilterResponse(result);
      this.#passed++;
    }
    exchange.onPassed(list);
  }

  #suspend(list: FilterList, filter: Filter, promise: Promise<FilterResponse | undefined>): void {
    this.#pending = filter;
    this.exchange.onSuspended();
    const settle = (response: FilterResponse | undefined): void => {
      // The request has ended meanwhile.
      if (this.#pending !== filter) return;
      this.#pending = undefined;
      if (response) return this.exchange.onFilterResponse(response);
      this.#passed++;
      this.#advance(list);
    };
    // Without its decision the request may not go on.
    promise.then(settle, (error: unknown) => settle(failure(error)));
  }

  /**
   * Calls the filters of all lists that the request has entered, from the endpoint's side outwards. Returns the reply in place of the
   * response if a filter fails, because the response may lack its changes. That reply passes no filter.
   */
  onResponse(head: ResponseHead): LocalReply | undefined {
    if (this.#hasFailed) return undefined;
    const { exchange } = this;
    try {
      for (let list = this.#list; list; list = list.outer)
        for (const filter of list.response) filter.onResponse(exchange, head);
      for (let list = this.#list; list; list = list.outer)
        for (const filter of list.responseLast) filter.onResponse(exchange, head);
      return undefined;
    } catch (error) {
      this.#hasFailed = true;
      return replyFor(error);
    }
  }

  /** The request has ended. Returns a failure of a filter, for the log: the response is complete or given up. */
  end(): LocalReply | undefined {
    const { exchange } = this;
    const pending = this.#pending;
    this.#pending = undefined;
    let failed: LocalReply | undefined;
    try {
      pending?.onCancel?.(exchange);
    } catch (error) {
      failed = replyFor(error);
    }
    for (let list = this.#list; list; list = list.outer)
      for (const { filter, after } of list.end) {
        if (list === this.#list && this.#passed < after) continue;
        try {
          filter.onEnd(exchange);
        } catch (error) {
          failed ??= replyFor(error);
        }
      }
    return failed;
  }
}

const replyFor = (error: unknown): LocalReply => filterFailed(errorText(error));
const failure = (error: unknown): FilterResponse => ({ kind: 'reply', reply: replyFor(error) });
